"""The least role of a caller for each route, on one page; a route that is missing here is for admins alone.

What a user may do with jobs and images, it may do with its own.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from kernel.protocol.enums import Role

PUBLIC: Final = (
    "get_liveness",
    "get_readiness",
    "get_docs",
    "get_openapi",
    "redirect_to_docs",
    "sign_in",
    "sign_out",
    "download_linked_image",
)
"""Also without a key: whether the server is well, how it is used, signing in, and signed links."""
OF_VIEWERS: Final = (
    "get_session",
    "list_models",
    "get_model",
    "get_thumbnail",
    "get_scan",
    "list_unusable_files",
    "list_engines",
    "get_engine",
    "list_engine_models",
    "get_queue",
    "list_jobs",
    "get_job",
    "stream_job_events",
    "list_images",
    "get_image",
    "download_image",
    "download_reference",
    "download_mask",
    "download_pose",
    "download_pose_map",
    "read_infotext",
    "list_devices",
    "get_capabilities",
    "stream_events",
    "get_metrics",
)
OF_USERS: Final = (
    "submit_job",
    "edit_job",
    "delete_job",
    "cancel_job",
    "retry_job",
    "edit_image",
    "delete_image",
    "generate_images",
    "edit_images",
    "vary_images",
)
OF_ADMINS: Final = (
    "register_model",
    "upload_model",
    "prune_models",
    "scan_models",
    "delete_model",
    "retry_model",
    "create_engine",
    "edit_engine",
    "delete_engine",
    "start_engine",
    "stop_engine",
    "pause_engine",
    "resume_engine",
    "pause_queue",
    "resume_queue",
    "prune_images",
    "create_key",
    "list_keys",
    "get_key",
    "change_key",
    "rotate_key",
    "revoke_key",
)
OF_A1111: Final = {
    Role.VIEWER: (
        "webui_png_info",
        "webui_interrogate",
        "webui_progress",
        "webui_task_progress",
        "webui_pending_tasks",
        "webui_options",
        "webui_cmd_flags",
        "webui_samplers",
        "webui_schedulers",
        "webui_upscalers",
        "webui_latent_upscale_modes",
        "webui_sd_models",
        "webui_sd_vae",
        "webui_sd_modules",
        "webui_loras",
        "webui_embeddings",
        "webui_hypernetworks",
        "webui_face_restorers",
        "webui_realesrgan_models",
        "webui_prompt_styles",
        "webui_extensions",
        "webui_scripts",
        "webui_script_info",
        "webui_memory",
        "controlnet_version",
        "controlnet_settings",
        "controlnet_model_list",
        "controlnet_module_list",
        "controlnet_control_types",
    ),
    Role.USER: (
        "webui_text_to_image",
        "webui_image_to_image",
        "webui_extra_single_image",
        "webui_extra_batch_images",
        "rembg",
        "webui_rembg",
        "webui_interrupt",
        "webui_skip",
        "webui_set_options",
        "webui_reload_checkpoint",
        "webui_create_embedding",
        "webui_create_hypernetwork",
        "webui_train_embedding",
        "webui_train_hypernetwork",
        "controlnet_detect",
    ),
    Role.ADMIN: (
        "webui_refresh_checkpoints",
        "webui_refresh_vae",
        "webui_refresh_loras",
        "webui_refresh_embeddings",
        "webui_unload_checkpoint",
    ),
}
"""What a caller does with its own options and jobs is for users; scans and engines are for admins."""
ROLES: Final[Mapping[str, Role | None]] = MappingProxyType(
    {
        **dict.fromkeys(PUBLIC),
        **dict.fromkeys(OF_VIEWERS, Role.VIEWER),
        **dict.fromkeys(OF_USERS, Role.USER),
        **dict.fromkeys(OF_ADMINS, Role.ADMIN),
        **{name: role for role, names in OF_A1111.items() for name in names},
    }
)
"""By the id of a route; None: everybody."""
