"""The page of budgets in Django's admin: limits with their use, stops, and the costs of the last days."""

from __future__ import annotations

from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext, override, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from scrape_do_celery.config.budget_limits import MAX_CREDITS, BudgetPeriod, read_scope
from scrape_do_celery.contrib.django.figures import localize_figure
from scrape_do_celery.contrib.django.store_pages import read_for_page
from scrape_do_celery.errors import ScrapeDoError
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.runs import AppContext, list_budgets, resume_buying, set_budget, stop_buying
from scrape_do_celery.runs.budgets import pair_stops
from scrape_do_celery.runs.spend import KEPT_DAYS, csv_lines, list_days, read_spend_rows

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.http import HttpRequest

    from scrape_do_celery.runs.spend import SpendRow

log = get_logger(__name__)

#: Days, and accounts, hosts and tags of each day, whose costs the page shows. The file has all.
_SHOWN_DAYS: Final = 7
_SHOWN_EACH: Final = 20
_SET, _STOP, _RESUME = "set", "stop", "resume"
#: The words of the page for the words of the store.
_PERIODS: Final[dict[BudgetPeriod, Any]] = {
    BudgetPeriod.DAY: pgettext_lazy("period", "day"),
    BudgetPeriod.MONTH: pgettext_lazy("period", "month"),
}
_KINDS: Final = {"account": _("account"), "host": _("host"), "tag": _("tag")}


class BudgetForm(forms.Form):
    """A change of a budget."""

    scope = forms.CharField(
        label=_("Scope"),
        initial="account",
        help_text=_("account, account:ID, or tag: with a tag of runs, such as tag:shop:7"),
    )
    action = forms.ChoiceField(
        label=_("Action"),
        choices=[(_SET, _("set the limit")), (_STOP, _("stop all purchases")), (_RESUME, _("go on with purchases"))],
    )
    period = forms.ChoiceField(
        label=_("Period"), choices=[(one.value, name) for one, name in _PERIODS.items()], required=False
    )
    limit = forms.FloatField(
        label=_("Limit"),
        min_value=0.001,
        max_value=MAX_CREDITS,
        required=False,
        help_text=_("credits; empty removes the limit"),
    )

    def clean_scope(self) -> str:
        """Return the scope.

        Raises:
            ValidationError: the scope is wrong.
        """
        scope: str = self.cleaned_data["scope"]
        try:
            read_scope(scope)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None
        return scope

    def clean(self) -> dict[str, Any]:
        """Return the fields. A limit has a period."""
        found = super().clean() or {}
        if found.get("action") == _SET and not found.get("period"):
            self.add_error("period", gettext("choose the period of the limit"))
        return found

    def describe(self) -> str:
        """Return the change as a sentence."""
        scope, action, period, limit = (self.cleaned_data[name] for name in ("scope", "action", "period", "limit"))
        if action == _STOP:
            text = gettext("Stop all purchases of %(scope)s")
        elif action == _RESUME:
            text = gettext("Go on with the purchases of %(scope)s")
        elif limit is None:
            text = gettext("Remove the limit of %(scope)s for a %(period)s")
        else:
            text = gettext("Set the limit of %(scope)s for a %(period)s to %(limit)s credits")
        return text % {"scope": scope, "period": _name_period(period), "limit": localize_figure(limit or 0)}

    def apply(self) -> bool:
        """Carry the change out. Return whether it has changed anything."""
        scope, action, period, limit = (self.cleaned_data[name] for name in ("scope", "action", "period", "limit"))
        tag, account = read_scope(scope)
        if action == _SET:
            return set_budget(limit, period, tag=tag, account=account)
        switch = stop_buying if action == _STOP else resume_buying
        return switch(tag=tag, account=account)


def show_budgets(model_admin: ModelAdmin[Any], request: HttpRequest) -> HttpResponse:
    """Show the page, or carry a change out after its confirmation.

    Raises:
        PermissionDenied: the user may not view scrapes, or not change them.
    """
    _refuse_strangers(model_admin, request)
    may_change = model_admin.has_change_permission(request)
    form, question = BudgetForm(request.POST or None), ""
    if request.method == "POST":
        if not may_change:
            raise PermissionDenied
        if form.is_valid():
            question = form.describe()
            if "confirmed" in request.POST and _apply_change(request, form):
                return HttpResponseRedirect(request.path)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": gettext("Budgets"),
        "opts": model_admin.opts,
        "form": form if may_change else None,
        "question": question,
        "kept_days": KEPT_DAYS,
        **read_for_page(request, _read_figures),
    }
    return TemplateResponse(request, "admin/scrape_do/budgets.html", context)


def download_spend(model_admin: ModelAdmin[Any], request: HttpRequest) -> StreamingHttpResponse:
    """Return the costs of all days that the store keeps, as CSV.

    Raises:
        PermissionDenied: the user may not view scrapes.
    """
    _refuse_strangers(model_admin, request)
    store = AppContext.for_app().store
    rows = read_spend_rows(store, list_days(store, KEPT_DAYS))
    answer = StreamingHttpResponse(csv_lines(rows), content_type="text/csv")
    answer["Content-Disposition"] = 'attachment; filename="spend.csv"'
    return answer


def _refuse_strangers(model_admin: ModelAdmin[Any], request: HttpRequest) -> None:
    if not model_admin.has_view_permission(request):
        raise PermissionDenied


def _apply_change(request: HttpRequest, form: BudgetForm) -> bool:
    """Carry a change out. Return whether the store has taken it."""
    with override(None):
        # Logs are in English.
        said = form.describe()
    try:
        changed = form.apply()
    except (ScrapeDoError, ValueError) as error:
        messages.error(request, str(error))
        return False
    log.info("%s: %s", request.user, said, extra=log_fields("budget_changed"))
    text = gettext("%(change)s: done") if changed else gettext("%(change)s: nothing has changed")
    messages.info(request, text % {"change": form.describe()})
    return True


def _read_figures() -> dict[str, Any]:
    """Return the budgets and the costs."""
    store = AppContext.for_app().store
    budgets = [(one, is_stopped, _name_period(one.period)) for one, is_stopped in pair_stops(list_budgets())]
    rows = read_spend_rows(store, reversed(list_days(store, _SHOWN_DAYS)))
    spend = [(row, _KINDS[row.by]) for _, each in groupby(rows, _name_group) for row in islice(each, _SHOWN_EACH)]
    return {"budgets": budgets, "spend": spend}


def _name_period(period: str | None) -> Any:
    return _PERIODS[BudgetPeriod(period)] if period else ""


def _name_group(row: SpendRow) -> tuple[str, str]:
    return row.day, row.by
