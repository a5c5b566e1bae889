"""The page of schedules in Django's admin: their ticks and runs; pause, resume and run now."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext, override
from django.utils.translation import gettext_lazy as _

from scrape_do_celery.contrib.django.store_pages import read_for_page
from scrape_do_celery.errors import ScrapeDoError
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.models.sendable import LONGEST_NAME
from scrape_do_celery.runs import list_schedules, pause_schedule, resume_schedule, run_schedule
from scrape_do_celery.runs.schedule_control import LONGEST_NOTE

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.http import HttpRequest

log = get_logger(__name__)

_PAUSE, _RESUME, _RUN = "pause", "resume", "run"


class ScheduleForm(forms.Form):
    """A change of a schedule, or a command to start its run."""

    # A name may begin or end with a space.
    name = forms.CharField(max_length=LONGEST_NAME, strip=False, widget=forms.HiddenInput)
    action = forms.ChoiceField(choices=[(one, one) for one in (_PAUSE, _RESUME, _RUN)], widget=forms.HiddenInput)
    #: The key of the question, so that a form that is sent twice starts one run.
    key = forms.CharField(required=False, widget=forms.HiddenInput)
    note = forms.CharField(max_length=LONGEST_NOTE, required=False, label=_("Why (optional)"))

    def describe(self) -> str:
        """Return the question to confirm."""
        texts = {
            _PAUSE: gettext("Pause the schedule %(name)s? Its ticks make no runs until you resume it."),
            _RESUME: gettext("Resume the schedule %(name)s with its next tick?"),
            _RUN: gettext("Start a run of the schedule %(name)s now?"),
        }
        return texts[self.cleaned_data["action"]] % {"name": self.cleaned_data["name"]}

    def apply(self, user: str) -> tuple[Any, dict[str, Any]]:
        """Carry the command out. Return a sentence about the result, in no language yet, and its names."""
        name, action, key, note = (self.cleaned_data[field] for field in ("name", "action", "key", "note"))
        if action == _RUN:
            return _describe_start(name, key)
        if action == _PAUSE:
            changed = pause_schedule(name, by=user, note=note or None)
            text = _("%(name)s is paused.") if changed else _("%(name)s was paused before.")
        else:
            changed = resume_schedule(name)
            text = _("%(name)s goes on.") if changed else _("%(name)s was not paused.")
        return text, {"name": name}


def show_schedules(model_admin: ModelAdmin[Any], request: HttpRequest) -> HttpResponse:
    """Show the page, or carry a command out after its confirmation.

    Raises:
        PermissionDenied: the user may not view scrapes, or not change them.
    """
    may_change = model_admin.has_change_permission(request)
    if not model_admin.has_view_permission(request) or (request.method == "POST" and not may_change):
        raise PermissionDenied
    form = ScheduleForm(request.POST or None)
    is_asked = request.method == "POST" and form.is_valid()
    if is_asked and "confirmed" in request.POST and _apply_command(request, form):
        return HttpResponseRedirect(request.path)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": gettext("Schedules"),
        "opts": model_admin.opts,
        "may_change": may_change,
        "form": form,
        "question": form.describe() if is_asked else "",
        "has_note": is_asked and form.cleaned_data["action"] == _PAUSE,
        "key": form.cleaned_data.get("key") or str(uuid.uuid4()) if is_asked else "",
        **read_for_page(request, lambda: {"schedules": list_schedules()}),
    }
    return TemplateResponse(request, "admin/scrape_do/schedules.html", context)


def _describe_start(name: str, key: str) -> tuple[Any, dict[str, Any]]:
    start = run_schedule(name, idempotency_key=key or None)
    if start.run_id is not None:
        text = _("Run %(run)s of %(name)s was made.")
    elif start.live_run is not None:
        text = _("%(name)s starts no run: run %(run)s goes on.")
    else:
        text = _("%(name)s starts no run, because this form was sent before, while another run went on.")
    return text, {"name": name, "run": start.run_id or start.live_run}


def _apply_command(request: HttpRequest, form: ScheduleForm) -> bool:
    """Carry a command out. Return whether the store has taken it."""
    try:
        text, names = form.apply(request.user.get_username())
    except (ScrapeDoError, ValueError) as error:
        messages.error(request, str(error))
        return False
    with override(None):
        # Logs are in English.
        log.info("%s: %s", request.user, text % names, extra=log_fields("schedule_changed"))
    messages.info(request, text % names)
    return True
