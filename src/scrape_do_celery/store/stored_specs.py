"""Decrypt the specs in the records of runs: the options, the targets, and the inputs."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from scrape_do_celery.errors import ResultExpiredError, ScrapeDoError
from scrape_do_celery.rules.prices import PricedTasks
from scrape_do_celery.store.codec import unpack
from scrape_do_celery.store.inputs import INPUT_COUNT
from scrape_do_celery.store.options import RunOptions, RunSpec, select_run_options
from scrape_do_celery.store.request_inputs import describe_inputs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrape_do_celery.store.keys import Keys
    from scrape_do_celery.store.part_ids import PartId


def decrypt_targets(keys: Keys, run_id: str, name: str, field: bytes) -> list[str]:
    """Return the targets in a field `targets:<n>` of a record. They are readable even if the request is not.

    Raises:
        EncryptionKeyError: If this process cannot decrypt them.
    """
    return describe_inputs(unpack(keys.decrypt(keys.run(run_id), name, field)))


def decrypt_run_options(keys: Keys, run_id: str, spec: bytes) -> RunOptions:
    """Return the options in the field `spec` of a record. Options without effect are left out.

    Raises:
        EncryptionKeyError: If this process cannot decrypt them.
    """
    return cast("RunOptions", select_run_options(unpack(keys.decrypt(keys.run(run_id), "spec", spec))))


def decrypt_spec(keys: Keys, run_id: str, fields: Mapping[str, bytes | None], **apart: Any) -> RunSpec:
    """Return the spec of a record's fields `spec`, `targets:0`, `targets:1`, ..., `targets:0:inputs`, ...

    Fields that the record does not have are None. `apart` are options that the record keeps in fields of their own.

    Raises:
        EncryptionKeyError: If this process cannot decrypt them.
        ValueError: If they are not a request that can be sent.
    """
    key = keys.run(run_id)
    plain = {name: keys.decrypt(key, name, value) for name, value in fields.items() if value is not None}
    inputs = [value for name, value in plain.items() if name.endswith(":inputs")]
    options, *targets = (value for name, value in plain.items() if not name.endswith(":inputs"))
    return RunSpec.unpacked(options, targets, inputs, **apart)


def decrypt_whole_spec(
    keys: Keys, run_id: str, fields: Mapping[str, bytes | None], *, of_one_part: bool = False
) -> RunSpec:
    """Return the spec of these fields and of `inputs`, with the inputs of the whole run, or of one part.

    The fields `label` and `webhook` may be missing. Without `webhook`, the run has no webhooks.

    A record without inputs lacks all their fields. If a field is lost, the others would give data to wrong targets.

    Raises:
        EncryptionKeyError: If this process cannot decrypt them.
        ResultExpiredError: If the record has lost a field, or data of some inputs.
        ValueError: If they are not a request that can be sent.
    """
    private = dict(fields)
    count, label, webhook = private.pop(INPUT_COUNT), private.pop("label", None), private.pop("webhook", None)
    for name, value in private.items():
        if value is None and (count is not None or not name.endswith(":inputs")):
            raise _lost_field_error(run_id, keys.run(run_id), name)
    apart = {"label": label and label.decode(), "webhook": bool(webhook)}
    spec = decrypt_spec(keys, run_id, private, **apart)
    wanted = None if count is None or of_one_part else int(count)
    if spec.inputs is not None and not spec.inputs.is_whole(spec.request.size, wanted):
        raise _lost_field_error(run_id, keys.run(run_id), "targets:<n>:inputs")
    return spec


def read_price_key(keys: Keys, part_id: PartId, spec: bytes, targets: bytes, url: str) -> str:
    """Return the name under which the store learns the cost of a part's task with this URL; empty for no name.

    `spec` and `targets` are the fields of the run's record.
    """
    try:
        found = _read_priced_tasks(keys, part_id, spec, targets)
    except (ScrapeDoError, ValueError):
        # The page of a request that nobody can read is stored all the same.
        return ""
    return "" if found is None else found.price_key(url, keys.mask)


# A step asks for each page of a part, and a part may have a thousand.
@lru_cache(maxsize=64)
def _read_priced_tasks(keys: Keys, part_id: PartId, spec: bytes, targets: bytes) -> PricedTasks | None:
    """Return what the tasks of a part have in common, from the fields of its run."""
    key = keys.run(part_id.run_id)
    wire = unpack(keys.decrypt(key, "spec", spec))["request"]
    sets = unpack(keys.decrypt(key, f"targets:{part_id.part}", targets)) if "Plugin" in wire else ()
    return PricedTasks.from_record(wire, sets)


def _lost_field_error(run_id: str, key: str, name: str) -> ResultExpiredError:
    return ResultExpiredError(
        f"run {run_id}: the field {name} of the key {key} is lost or damaged, so no task can be given to its input; "
        f"to read the tasks without `meta` and duplicates, delete the fields {INPUT_COUNT} and targets:*:inputs of the "
        "key",
        run_id,
    )
