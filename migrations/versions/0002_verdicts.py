"""The log of verdicts: what people decided about a query and a video."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "verdict",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("query_content_id", sa.String(), nullable=False),
        sa.Column("query_uri", sa.String(), nullable=False),
        sa.Column("video_content_id", sa.String(), nullable=False),
        sa.Column("video_uri", sa.String(), nullable=False),
        sa.Column("decision", sa.String(), nullable=True),
        sa.Column("undoes", sa.Integer(), nullable=True),
        sa.Column("decided_by", sa.String(), nullable=False),
        sa.Column("decided_at", sa.String(), nullable=False),
        sa.CheckConstraint(
            "decision IN ('match', 'no-match')", name=op.f("ck_verdict_known_decision")
        ),
        sa.CheckConstraint(
            "(decision IS NULL) = (undoes IS NOT NULL)", name=op.f("ck_verdict_decides_or_undoes")
        ),
        sa.ForeignKeyConstraint(["undoes"], ["verdict.id"], name=op.f("fk_verdict_undoes_verdict")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdict")),
        sa.UniqueConstraint("undoes", name=op.f("uq_verdict_undoes")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_verdict_query_content_id"), "verdict", ["query_content_id"])


def downgrade() -> None:
    op.drop_table("verdict")
