"""The URLs of the project."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import include, path

urlpatterns = [path("admin/", admin.site.urls), path("", include("pages.urls"))]
# The admin's style for servers other than `runserver`; this works only with DEBUG.
urlpatterns += staticfiles_urlpatterns()
