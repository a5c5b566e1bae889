"""The name of a Celery application, by which two applications on one store are told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from scrape_do_celery.config.urls import application

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from celery import Celery

#: Transport options that decide where messages or results are, beside the URL. Other options, such as a time-out, may
#: differ between the workers of one application.
_PLACES: Final = (
    *("global_keyprefix", "queue_name_prefix", "keyprefix_queue", "master_name", "service_name", "region"),
    *("virtual_host", "queue_tablename", "message_tablename", "data_folder_in", "data_folder_out", "database"),
)
#: Settings of Celery that decide where results are, beside the URL.
_RESULT_PLACES: Final = (
    *("database_table_names", "database_table_schemas", "cassandra_keyspace", "cassandra_table", "couchbase_bucket"),
    *("s3_bucket", "s3_base_path", "azureblockblob_container_name", "azureblockblob_base_path", "gcs_bucket"),
    *("gcs_base_path", "result_exchange"),
)


def name_application(app: Celery) -> str:
    """Return a name of where an application's messages and results are. It shows no password.

    Outcomes and callbacks go through the broker and the result backend of the delivering worker, so two applications
    with different names must not serve one store.
    """
    conf = app.conf
    name = application(conf.broker_write_url, conf.result_backend)
    if conf.broker_read_url != conf.broker_write_url:
        name += f"; read from {application(conf.broker_read_url, None).partition(',')[0]}"
    places = [
        *_name_places("broker", conf.broker_transport_options),
        *_name_places("results", conf.result_backend_transport_options),
        *(f"{key} {_show(conf.get(key))}" for key in _RESULT_PLACES if _is_changed(app, key)),
    ]
    return "; ".join([name, *places])


def _name_places(server: str, options: Mapping[str, Any] | None) -> Iterator[str]:
    for key in _PLACES:
        if value := (options or {}).get(key):
            yield f"{server} {key} {_show(value)}"


def _show(value: object) -> str:
    return str(sorted(value.items())) if isinstance(value, dict) else str(value)


def _is_changed(app: Celery, key: str) -> bool:
    """Return whether a setting differs from Celery's default. Then two applications with one URL may differ in it."""
    defaults: Mapping[str, Any] = app.conf.defaults[-1]
    return bool(app.conf.get(key)) and app.conf.get(key) != defaults.get(key)
