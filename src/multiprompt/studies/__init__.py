"""The study: every table and figure of the paper, at the scale of a laptop and at its own."""

from __future__ import annotations

from multiprompt.studies.study_definition import ALL, SCALES, Scale, Study, experiments_of, load_study, study_names
from multiprompt.studies.study_report import show, write_study_report
from multiprompt.studies.study_runs import reproduce, studies_of

__all__ = [
    "ALL",
    "SCALES",
    "Scale",
    "Study",
    "experiments_of",
    "load_study",
    "reproduce",
    "show",
    "studies_of",
    "study_names",
    "write_study_report",
]
