"""The plugins of the Async API, and their parameter sets. `Plugin` is any plugin; the others are the known ones."""

from __future__ import annotations

from .amazon import AmazonOfferListing, AmazonPdp, AmazonProductParams, AmazonSearch, AmazonSearchParams
from .chat import ChatGpt, ChatParams
from .google_feeds import (
    GoogleNews,
    GoogleTrending,
    GoogleTrends,
    GoogleYouTube,
    NewsParams,
    TrendingParams,
    TrendsParams,
    YouTubeParams,
)
from .google_maps import (
    GoogleMapsPlace,
    GoogleMapsReviews,
    GoogleMapsSearch,
    MapsPlaceParams,
    MapsReviewsParams,
    MapsSearchParams,
)
from .google_play import (
    GooglePlayStore,
    GooglePlayStoreProduct,
    GooglePlayStoreReviews,
    PlayStoreParams,
    PlayStoreProductParams,
    PlayStoreReviewsParams,
)
from .google_search import AiModeParams, AiOverviewParams, GoogleAiMode, GoogleAiOverview, GoogleSearch, SearchParams
from .google_shopping import (
    GoogleShopping,
    GoogleShoppingProduct,
    GoogleShoppingStores,
    ShoppingParams,
    ShoppingProductParams,
    ShoppingStoresParams,
)
from .google_travel import (
    FlightsParams,
    GoogleFlights,
    GoogleHotels,
    GoogleHotelsDetail,
    HotelsDetailParams,
    HotelsParams,
)
from .parameters import PluginParams
from .plugin import Plugin, PluginRequest, TypedPlugin
from .stores import LowesParams, LowesStore, Shein, SheinParams, WalmartParams, WalmartStore
from .trip_com import TripDetail, TripDetailParams, TripSearch, TripSearchParams

__all__ = [
    "AiModeParams",
    "AiOverviewParams",
    "AmazonOfferListing",
    "AmazonPdp",
    "AmazonProductParams",
    "AmazonSearch",
    "AmazonSearchParams",
    "ChatGpt",
    "ChatParams",
    "FlightsParams",
    "GoogleAiMode",
    "GoogleAiOverview",
    "GoogleFlights",
    "GoogleHotels",
    "GoogleHotelsDetail",
    "GoogleMapsPlace",
    "GoogleMapsReviews",
    "GoogleMapsSearch",
    "GoogleNews",
    "GooglePlayStore",
    "GooglePlayStoreProduct",
    "GooglePlayStoreReviews",
    "GoogleSearch",
    "GoogleShopping",
    "GoogleShoppingProduct",
    "GoogleShoppingStores",
    "GoogleTrending",
    "GoogleTrends",
    "GoogleYouTube",
    "HotelsDetailParams",
    "HotelsParams",
    "LowesParams",
    "LowesStore",
    "MapsPlaceParams",
    "MapsReviewsParams",
    "MapsSearchParams",
    "NewsParams",
    "PlayStoreParams",
    "PlayStoreProductParams",
    "PlayStoreReviewsParams",
    "Plugin",
    "PluginParams",
    "PluginRequest",
    "SearchParams",
    "Shein",
    "SheinParams",
    "ShoppingParams",
    "ShoppingProductParams",
    "ShoppingStoresParams",
    "TrendingParams",
    "TrendsParams",
    "TripDetail",
    "TripDetailParams",
    "TripSearch",
    "TripSearchParams",
    "TypedPlugin",
    "WalmartParams",
    "WalmartStore",
    "YouTubeParams",
]
