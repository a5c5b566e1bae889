"""The plugins for Google News, Google Trends and YouTube."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from .fields import DeviceWord, ParamNumber, ParamText, Words
from .google import GoogleParams, GooglePlugin
from .parameters import PluginParams

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .plugin import ParamSets


class NewsParams(GoogleParams):
    """Parameters of `google/news`."""

    ONE_OF = ("q", "topic_token", "section_token", "story_token", "publication_token", "kgmid")
    EXCLUSIVE = ONE_OF

    #: the words to search for
    q: ParamText | None = None
    #: the token of a topic
    topic_token: ParamText | None = None
    #: the token of a section of a topic
    section_token: ParamText | None = None
    #: the token of a story
    story_token: ParamText | None = None
    #: the token of a publication
    publication_token: ParamText | None = None
    #: the id of a thing in Google's Knowledge Graph, such as `/m/02_286`
    kgmid: ParamText | None = None
    #: "0" by relevance, "1" by date; with `q` or `kgmid`
    so: Annotated[Literal["0", "1"], Words()] | None = None

    def _find_oddities(self) -> Iterator[str]:
        if self.so is not None and self.q is None and self.kgmid is None:
            yield "so is set without q or kgmid"


class TrendsParams(PluginParams):
    """Parameters of `google/trends`."""

    #: the words whose trend is shown; several with commas between them
    q: ParamText
    #: a place, such as `US` or `US-CA`
    geo: ParamText | None = None
    #: the language of the page, such as `en`
    hl: ParamText | None = None
    #: the time range, such as `today 12-m`
    date: ParamText | None = None
    #: the time zone, in minutes from UTC
    tz: ParamNumber | None = None
    #: the part of the page
    data_type: (
        Annotated[Literal["TIMESERIES", "GEO_MAP", "GEO_MAP_0", "RELATED_QUERIES", "RELATED_TOPICS"], Words()] | None
    ) = None
    #: the id of a category
    cat: ParamText | None = None
    #: the service of Google whose searches count
    gprop: Annotated[Literal["web", "images", "news", "youtube", "froogle"], Words()] | None = None
    #: the size of the places; with `data_type` GEO_MAP or GEO_MAP_0
    region: Annotated[Literal["COUNTRY", "REGION", "DMA", "CITY"], Words()] | None = None


class TrendingParams(PluginParams):
    """Parameters of `google/trending`."""

    #: the country, such as `US`
    geo: ParamText
    #: the language of the page, such as `en`
    hl: ParamText | None = None
    #: the number of hours that count
    hours: Annotated[Literal[4, 24, 48, 168], Words()] | None = None
    #: the id of a category; 0 for all
    cat: ParamNumber | None = None
    #: the order of the searches
    sort: Annotated[Literal["relevance", "search_volume", "recency", "title"], Words()] | None = None
    #: all searches, or those that still rise
    status: Annotated[Literal["all", "active"], Words()] | None = None


class YouTubeParams(GoogleParams):
    """Parameters of `google/youtube`."""

    #: the words to search for
    search_query: ParamText
    #: the kind of device that YouTube sees
    device: DeviceWord | None = None
    #: YouTube's token of a filter, or of the next page
    sp: ParamText | None = None


class GoogleNews(GooglePlugin):
    """News about a topic, or of a publication."""

    KEY = "google/news"
    PARAMS = NewsParams
    EXAMPLE: ClassVar[dict[str, Any]] = {"q": "coffee prices", "so": "1", "hl": "en"}

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[NewsParams]) -> None: ...


class GoogleTrends(GooglePlugin):
    """The interest in a search over time and by place."""

    KEY = "google/trends"
    PARAMS = TrendsParams
    EXAMPLE: ClassVar[dict[str, Any]] = {"q": "coffee", "geo": "US", "date": "today 12-m", "data_type": "TIMESERIES"}

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[TrendsParams]) -> None: ...


class GoogleTrending(GooglePlugin):
    """The searches that rise now."""

    KEY = "google/trending"
    PARAMS = TrendingParams
    EXAMPLE: ClassVar[dict[str, Any]] = {"geo": "US", "hours": 24}

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[TrendingParams]) -> None: ...


class GoogleYouTube(GooglePlugin):
    """Videos that a search finds."""

    KEY = "google/youtube"
    PARAMS = YouTubeParams
    EXAMPLE: ClassVar[dict[str, Any]] = {"search_query": "latte art", "gl": "us"}

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[YouTubeParams]) -> None: ...
