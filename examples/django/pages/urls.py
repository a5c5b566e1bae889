"""The URLs of the app."""

from __future__ import annotations

from django.urls import path

from pages import async_views, views

urlpatterns = [
    path("", views.start, name="start"),
    path("runs/<str:run_id>/", views.run, name="run"),
    path("runs/<str:run_id>/status", views.status, name="status"),
    path("api/runs", async_views.start, name="api_start"),
    path("api/runs/<str:run_id>/events", async_views.events, name="events"),
]
