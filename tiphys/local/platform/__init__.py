"""The platform as a whole: its parts, the supervisor that keeps them, how it is brought up and down."""
