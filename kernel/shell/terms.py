"""Converts the configuration to the terms of the core and of the standbys."""

from conf.settings import Engines, Settings
from kernel.core.ports import Limits, PoolLimits
from kernel.shell.launchers.standby import NONE_AT_ALL, StandbyTerms


def limits_of(settings: Settings, server_key: str, *, with_api: bool) -> Limits:
    """The settings that the core decides by. `server_key`: that of the workers' socket, in hexadecimal
    digits."""
    return Limits(
        max_queue=settings.server.max_queue,
        max_running=settings.engines.max_running,
        default_engine=settings.engines.default,
        lora_tags=settings.prompts.lora_tags,
        max_pixels=settings.server.max_pixels,
        max_steps=settings.server.max_steps,
        max_count=settings.server.max_count,
        keep_alive_s=settings.engines.keep_alive_s,
        turn_s=settings.engines.turn_s,
        longest_pause_s=settings.engines.longest_pause_s,
        come_back_s=settings.engines.come_back_s,
        server_key=server_key,
        keep_free_bytes=settings.engines.keep_free_bytes,
        grace_s=settings.shutdown.grace_s,
        load_timeout_s=settings.engines.load_timeout_s,
        step_timeout_s=settings.engines.step_timeout_s,
        compilation=settings.engines.compile,
        expire_after_s=settings.images.expire_after_s,
        delete_after_downloads=settings.images.delete_after_downloads,
        blobs_expire_after_s=settings.blobs.expire_after_s,
        max_input_bytes=settings.server.max_body_bytes,
        min_free_bytes=settings.images.min_free_bytes,
        max_downloads=settings.models.max_downloads,
        push_rate_bytes=settings.models.push_rate_bytes,
        model_folders=tuple(map(str, settings.models.folders)),
        scan_every_s=settings.models.scan_every_s if settings.models.scan else None,
        pools={
            name: PoolLimits(max_workers=pool.max_workers, launch_timeout_s=pool.launch_timeout_s)
            for name, pool in settings.pools.items()
            if pool.launcher is not None
        },
        callback_base_url=settings.callbacks.base_url,
        with_api=with_api,
    )


def standby_terms(settings: Engines, *, is_fake: bool) -> StandbyTerms:
    """The number and terms of standby workers. Fake engines need none: they have nothing to import."""
    return NONE_AT_ALL if is_fake else StandbyTerms(settings.standby, settings.standby_min_free_bytes)
