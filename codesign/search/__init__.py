"""The proposers: each module offers `Options` and `make(objectives, options) -> Proposer`.

A proposer holds nothing that matters between calls: what it proposes follows from the arguments
of `ask` alone, so a resumed study goes on as an unbroken one would.
"""

import logging

# Where SQLAlchemy is installed, Ax says so when it is imported, before its level can be set.
logging.getLogger("ax.storage.sqa_store.with_db_settings_base").addFilter(
    lambda record: record.levelno >= logging.WARNING
)
