"""Indexes by which old jobs and old rows of the audit are found."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_jobs_ended", "jobs", ["ended"])
    op.create_index("ix_concepts_job_id", "concepts", ["job_id"])
    op.create_index("ix_audit_time", "audit", ["time"])
