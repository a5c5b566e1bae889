"""Models of the API's requests and answers, and the errors that carry a job or a task."""

from __future__ import annotations

from . import browser_actions, jobs, plugin_results, plugins, rendered, results, targets, tasks
from .browser_actions import *  # noqa: F403
from .concerns import RequestWarning
from .foreign_models import ForeignModel
from .ids import read_id, same_id
from .jobs import *  # noqa: F403
from .parsing import parse_answer
from .plugin_results import *  # noqa: F403
from .plugins import *  # noqa: F403
from .render import Render, RenderFields, RenderOptions
from .rendered import *  # noqa: F403
from .repairs import collect_defaults
from .request_fields import JobFields, PluginFields, RequestFields
from .request_models import RequestModel
from .requests import MAX_TARGETS_PER_JOB, JobCreationRequest
from .results import *  # noqa: F403
from .statuses import STATUS_SPELLINGS, TERMINAL, JobStatus, is_known_status, is_terminal, read_status
from .targets import *  # noqa: F403
from .tasks import *  # noqa: F403
from .urls import match_targets
from .wire import WireModel

__all__ = [
    "MAX_TARGETS_PER_JOB",
    "STATUS_SPELLINGS",
    "TERMINAL",
    "ForeignModel",
    "JobCreationRequest",
    "JobFields",
    "JobStatus",
    "PluginFields",
    "Render",
    "RenderFields",
    "RenderOptions",
    "RequestFields",
    "RequestModel",
    "RequestWarning",
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
__all__ += browser_actions.__all__
__all__ += jobs.__all__
__all__ += plugin_results.__all__
__all__ += plugins.__all__
__all__ += rendered.__all__
__all__ += results.__all__
__all__ += targets.__all__
__all__ += tasks.__all__
