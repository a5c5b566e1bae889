"""The plugins for Google Search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from .fields import Count, DeviceWord, ParamText, SafeWord, Words
from .google import GoogleParams, GooglePlugin

if TYPE_CHECKING:
    from .plugin import ParamSets


class AiOverviewParams(GoogleParams):
    """Parameters of `google/search/ai-overview`."""

    #: the words to search for
    q: ParamText
    #: the domain of Google, such as `google.de`
    google_domain: ParamText | None = None
    #: the kind of device that Google sees
    device: DeviceWord | None = None
    #: a place in words, such as `New York,New York,United States`
    location: ParamText | None = None
    #: a place as Google's token; it wins over `location`
    uule: ParamText | None = None
    #: the state of SafeSearch
    safe: SafeWord | None = None


class AiModeParams(AiOverviewParams):
    """Parameters of `google/search/ai-mode`."""

    #: return the HTML too
    include_html: bool | None = None


class SearchParams(AiModeParams):
    """Parameters of `google/search`."""

    #: the number of results to skip
    start: Count | None = None
    #: only results from a country, such as `countryUS`
    cr: ParamText | None = None
    #: only results in a language, such as `lang_en`
    lr: ParamText | None = None
    #: only results of the last hour, day, week, month or year
    time_period: Annotated[Literal["last_hour", "last_day", "last_week", "last_month", "last_year"], Words()] | None = (
        None
    )
    #: Google's filter of similar results
    filter: ParamText | None = None
    #: 1 turns the correction of the spelling off
    nfpr: Annotated[Literal[0, 1], Words()] | None = None


class GoogleSearch(GooglePlugin):
    """A page of search results."""

    KEY = "google/search"
    PARAMS = SearchParams
    EXAMPLE: ClassVar[dict[str, Any]] = {"q": "coffee grinder", "gl": "us", "hl": "en"}

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[SearchParams]) -> None: ...


class GoogleAiMode(GooglePlugin):
    """The answer of Google's AI mode."""

    KEY = "google/search/ai-mode"
    PARAMS = AiModeParams
    EXAMPLE: ClassVar[dict[str, Any]] = {"q": "how to clean a coffee grinder", "device": "mobile"}

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[AiModeParams]) -> None: ...


class GoogleAiOverview(GooglePlugin):
    """The AI overview of a search. A search without overview fails, and costs nothing."""

    KEY = "google/search/ai-overview"
    PARAMS = AiOverviewParams
    EXAMPLE: ClassVar[dict[str, Any]] = {"q": "how to clean a coffee grinder", "gl": "us"}

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[AiOverviewParams]) -> None: ...
