"""The URLs of the app."""

from __future__ import annotations

from django.urls import path

from pages import views

urlpatterns = [
    path("", views.start, name="start"),
    path("runs/<str:run_id>/", views.run, name="run"),
    path("runs/<str:run_id>/status", views.status, name="status"),
]
