"""Game days: several drills in order, steady states between them, one report, and a history of how it went before."""
