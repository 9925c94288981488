"""Proof of an outage: every server that was hit has died, and the group could not decide anything any more."""

from __future__ import annotations

from steps.drill.evidence import Evidence, Proof, Target, no_answer, other_process, quorum_lost


def outage_proof(target: Target, evidence: Evidence) -> Proof | None:
    """Return the proof that an outage landed, or None so far."""
    lost = quorum_lost(target, evidence)
    ends = [other_process(one, evidence) for one in target.hit]
    proofs = [end for end in ends if end is not None]
    if lost is None or len(proofs) < len(ends):
        return None
    silent = [moment for one in target.hit if (moment := no_answer(one, evidence)) is not None]
    at = min([*silent, *(proof.at for proof in proofs), lost.at])
    seen_at = max([lost.at, *(proof.seen_at for proof in proofs)])
    return Proof(at, seen_at, "; ".join([*(proof.text for proof in proofs), lost.text]))
