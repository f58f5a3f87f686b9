"""The first tables: the index as a whole, contents, files, vectors."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "index_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("index_id", sa.String(), nullable=False),
        sa.Column("model_id", sa.String(), nullable=False),
        sa.Column("dim", sa.Integer(), nullable=False),
        sa.Column("sampling", sa.String(), nullable=False),
        sa.Column("structure", sa.String(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("next_vector_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.String(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_index_state_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_index_state")),
    )
    op.create_table(
        "content",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("content_id", sa.String(), nullable=False),
        sa.Column("duration_s", sa.Double(), nullable=True),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("codec", sa.String(), nullable=False),
        sa.Column("frame_rate_numerator", sa.BigInteger(), nullable=True),
        sa.Column("frame_rate_denominator", sa.BigInteger(), nullable=True),
        sa.Column("damage", sa.String(), nullable=True),
        sa.Column("indexed_at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_content")),
        sa.UniqueConstraint("content_id", name=op.f("uq_content_content_id")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "file",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("uri", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("missing", sa.Boolean(), nullable=False),
        sa.Column("content", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["content"],
            ["content.id"],
            name=op.f("fk_file_content_content"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_file")),
        sa.UniqueConstraint("uri", name=op.f("uq_file_uri")),
    )
    op.create_index(op.f("ix_file_content"), "file", ["content"])
    op.create_table(
        "vectors",
        sa.Column("content", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.String(), nullable=False),
        sa.Column("first_vector_id", sa.BigInteger(), nullable=False),
        sa.Column("num_vectors", sa.Integer(), nullable=False),
        sa.Column("checksum", sa.BigInteger(), nullable=False),
        sa.Column("times", sa.LargeBinary(), nullable=True),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["content"],
            ["content.id"],
            name=op.f("fk_vectors_content_content"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("content", "model_id", name=op.f("pk_vectors")),
        sa.UniqueConstraint("first_vector_id", name=op.f("uq_vectors_first_vector_id")),
    )
    op.create_index(
        op.f("ix_vectors_model_id_first_vector_id_num_vectors_content"),
        "vectors",
        ["model_id", "first_vector_id", "num_vectors", "content"],
        unique=True,
    )


def downgrade() -> None:
    op.drop_table("vectors")
    op.drop_table("file")
    op.drop_table("content")
    op.drop_table("index_state")
