"""Typed results of the plugins whose answers are known. The answers of all others are untyped JSON, or HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from pydantic import ConfigDict, Field

from scrape_do_celery.errors import UnreadableContentError
from scrape_do_celery.local_variables import without_locals

from .fields import Number, Text, Word, list_repair
from .parsing import clean_json
from .repairs import FieldRepair
from .wire import AnswerModel

if TYPE_CHECKING:
    from .tasks import TaskDetails

__all__ = [
    "AIOverview",
    "AIOverviewReference",
    "GoogleSearchResults",
    "RelatedQuestion",
    "RelatedSearch",
    "SearchLink",
    "SearchSitelinks",
    "SiteLink",
]

#: Keys of plugins that answer with the HTML of the page.
HTML_PLUGINS: Final = frozenset({"lowes/store", "shein", "walmart/store"})


def _refuse_part(value: Any) -> None:
    if value is not None:
        raise ValueError("the part is no JSON object")


def _read_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("the item is no JSON object")  # noqa: TRY004 (an item's fault drops the item)
    return value


class PluginPart(AnswerModel):
    """The base class of results and their parts. Keys that a model does not know are in `model_extra`."""

    model_config = ConfigDict(alias_generator=None, extra="allow")


class SiteLink(PluginPart):
    """A link of a page of results."""

    #: its position on the page, from 1; 0 if the answer has none
    position: Number = 0
    #: its title
    title: Word = ""
    #: its URL; advertisements have `url` instead
    link: Word = ""
    #: the URL of an advertisement
    url: Word = ""

    @property
    def target(self) -> str:
        """The URL, under whichever of its two names the answer has it."""
        return self.link or self.url


class SearchSitelinks(PluginPart):
    """The links below a result."""

    #: links with a text of their own
    expanded: Annotated[list[SiteLink], list_repair(SiteLink.model_validate)] = Field(default_factory=list)


class SearchLink(SiteLink):
    """A result, an advertisement or a story."""

    # A link below a link has no such field: the time of tolerant reading doubles with each level.
    #: the links below a result
    sitelinks: Annotated[SearchSitelinks | None, FieldRepair(_refuse_part)] = None


class RelatedQuestion(PluginPart):
    """A question that people also ask."""

    #: the question
    question: Word = ""


class RelatedSearch(PluginPart):
    """A search that Google proposes."""

    #: the words of the search
    query: Word = ""


class AIOverviewReference(PluginPart):
    """A source of an AI overview."""

    #: the title of the source
    title: Word = ""
    #: its URL
    link: Word = ""
    #: the name of its site
    source: Word = ""


class AIOverview(PluginPart):
    """Google's AI overview."""

    #: `complete` or `deferred`
    state: Word = ""
    #: the key of a deferred overview: it serves once, for about a minute, and the follow-up costs credits
    session_key: Text = Field(default=None, repr=False)
    #: paragraphs and lists, as the API nests them
    text_blocks: Annotated[list[dict[str, Any]], list_repair(_read_object)] = Field(default_factory=list)
    #: the sources
    references: Annotated[list[AIOverviewReference], list_repair(AIOverviewReference.model_validate)] = Field(
        default_factory=list
    )


Links = Annotated[list[SearchLink], list_repair(SearchLink.model_validate)]


class GoogleSearchResults(PluginPart):
    """The answer of the plugin `google/search`, also of `google/search/ai-overview`.

    The answer is used as far as it can be read: an item that cannot be read is left out, and `dropped` counts it.
    """

    #: the parameters as the answer repeats them, perhaps with defaults of the server; None if it repeats none
    search_parameters: Annotated[dict[str, Any] | None, FieldRepair(_refuse_part)] = None
    #: the results
    organic_results: Links = Field(default_factory=list)
    #: advertisements above the results
    top_ads: Links = Field(default_factory=list)
    #: advertisements below the results
    bottom_ads: Links = Field(default_factory=list)
    #: the stories
    top_stories: Links = Field(default_factory=list)
    #: questions that people also ask
    related_questions: Annotated[list[RelatedQuestion], list_repair(RelatedQuestion.model_validate)] = Field(
        default_factory=list
    )
    #: searches that Google proposes
    related_searches: Annotated[list[RelatedSearch], list_repair(RelatedSearch.model_validate)] = Field(
        default_factory=list
    )
    #: the AI overview; None if Google showed none
    ai_overview: Annotated[AIOverview | None, FieldRepair(_refuse_part)] = None

    @classmethod
    @without_locals
    def from_task(cls, task: TaskDetails) -> Self:
        """Return the results that a task of the plugin holds.

        Raises:
            UnreadableContentError: the content is no JSON object, or has none of the known keys.
        """
        data = task.json_content()
        # An answer that only repeats its parameters, such as an error of the plugin, holds no results.
        if isinstance(data, dict) and not (cls.model_fields.keys() - {"search_parameters"}).isdisjoint(data):
            return cls.model_validate(clean_json(data))
        reason = "none of its keys are there" if isinstance(data, dict) else "it is no JSON object"
        advice = "Read `json_content()` of the task for the answer as it is."
        raise UnreadableContentError.about_task(task.task_id, task.job_id, cls.__name__, reason, advice)

    @property
    def ai_overview_state(self) -> str:
        """The state of the AI overview: `complete`, `deferred`, or `absent`."""
        return (self.ai_overview and self.ai_overview.state) or "absent"


#: Models of answers, by the key of the plugin.
TYPED_PLUGINS: Final = {
    "google/search": GoogleSearchResults,
    "google/search/ai-overview": GoogleSearchResults,
}


def describe_answer(key: str) -> str:
    """Return how to read the answer of a plugin: a typed result, HTML, or JSON without a type."""
    if key in TYPED_PLUGINS:
        return f"`{TYPED_PLUGINS[key].__name__}.from_task(task)`"
    if key in HTML_PLUGINS:
        return "HTML: `task.text`"
    return "untyped JSON: `task.json_content()`"
