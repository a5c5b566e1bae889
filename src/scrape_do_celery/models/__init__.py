"""Models of the API's requests and answers, and the errors that carry a job or a task."""

from __future__ import annotations

from . import jobs, results, targets, tasks
from .ids import read_id, same_id
from .jobs import *  # noqa: F403
from .parsing import parse_answer
from .render import RenderOptions
from .repairs import collect_defaults
from .requests import MAX_TARGETS_PER_JOB, JobCreationRequest, PluginRequest, RequestFields
from .results import *  # noqa: F403
from .statuses import STATUS_SPELLINGS, TERMINAL, JobStatus, is_known_status, is_terminal, read_status
from .targets import *  # noqa: F403
from .tasks import *  # noqa: F403
from .urls import match_targets
from .wire import RequestModel, WireModel

__all__ = [
    "MAX_TARGETS_PER_JOB",
    "STATUS_SPELLINGS",
    "TERMINAL",
    "JobCreationRequest",
    "JobStatus",
    "PluginRequest",
    "RenderOptions",
    "RequestFields",
    "RequestModel",
    "WireModel",
    "collect_defaults",
    "is_known_status",
    "is_terminal",
    "match_targets",
    "parse_answer",
    "read_id",
    "read_status",
    "same_id",
]
# `__all__` of each module lists its public names. Star imports repeat none, so a new name is written in one file.
__all__ += jobs.__all__
__all__ += results.__all__
__all__ += targets.__all__
__all__ += tasks.__all__
