"""Every route of the REST API: the table from which it is served and described."""

from dataclasses import dataclass
from typing import Final

from api.http.compat.a1111.routes import A1111, a1111_routes
from api.http.compat.openai.answers import OpenAiImages
from api.http.compat.openai.image_stream import OPENAI_EVENTS
from api.http.compat.openai.images import OpenAiImageRoutes
from api.http.compat.openai.linked_images import LinkedImages, LinkQuery
from api.http.compat.openai.models import ModelList, ModelsForBoth, OpenAiModel
from api.http.compat.openai.request_fields import OpenAiEdit, OpenAiGeneration, OpenAiVariation
from api.http.contract import engine_input, job_input
from api.http.contract import engine_types as engine
from api.http.contract import errors as http
from api.http.contract import image_types as image
from api.http.contract import job_types as job
from api.http.contract import key_types as key
from api.http.contract import model_types as model
from api.http.contract import preset_types as preset
from api.http.contract import prompt_types as prompt
from api.http.contract import webhook_types as hook
from api.http.contract import worker_types as workers
from api.http.contract.constraints import WaitQuery
from api.http.contract.openai_errors import EDITS, GENERATIONS, VARIATIONS
from api.http.contract.system_types import System
from api.http.framework.documents import Documents
from api.http.framework.openapi import ASKING, NOT_ADMITTED, QUEUE_LIMITS
from api.http.framework.route import Route
from api.http.gallery import archive, deletion, infotexts, page_starts, thumbnails
from api.http.metrics.page import Metrics
from api.http.resources import administration, infotext, model_upload, session, system
from api.http.resources import model_folders as folders
from api.http.resources.download import Download
from api.http.resources.engines import Engines
from api.http.resources.events import EVENTS, Events
from api.http.resources.image_sources import ImageSources, PoseMapQuery
from api.http.resources.images import Images
from api.http.resources.job_events import JOB_EVENTS, JobEvents
from api.http.resources.jobs import Jobs
from api.http.resources.keys import Keys
from api.http.resources.models import Models
from api.http.resources.presets import Presets
from api.http.resources.prompts import Prompts
from api.http.resources.pruning import Pruned, PruneInput, Pruning
from api.http.resources.queue import Queue, QueueState
from api.http.resources.web_page import WebPage
from api.http.resources.webhooks import Webhooks
from api.http.wildcards import wildcards
from kernel.protocol import errors as e
from kernel.protocol.enums import ImageFileType


@dataclass(frozen=True, slots=True)
class OpenAi:
    """The routes for OpenAI's clients."""

    models: ModelsForBoth
    images: OpenAiImageRoutes
    linked: LinkedImages


@dataclass(frozen=True, slots=True)
class Gallery:
    """What a gallery of many images needs."""

    page_starts: page_starts.ImagePageStarts
    deletion: deletion.ImageDeletion
    archive: archive.Archive
    thumbnails: thumbnails.Thumbnails
    infotexts: infotexts.ImageInfotexts


@dataclass(frozen=True, slots=True)
class Resources:
    """One object for each kind of resource."""

    models: Models
    model_folders: folders.ModelFolders
    engines: Engines
    queue: Queue
    jobs: Jobs
    job_events: JobEvents
    infotexts: infotext.Infotexts
    images: Images
    pruning: Pruning
    image_sources: ImageSources
    download: Download
    system: system.System
    administration: administration.Administration
    events: Events
    metrics: Metrics
    documents: Documents
    page: WebPage
    webhooks: Webhooks
    presets: Presets
    gallery: Gallery
    prompts: Prompts
    openai: OpenAi
    a1111: A1111
    wildcards: wildcards.Wildcards
    keys: Keys
    session: session.SessionResource


KEYED: Final = ("Idempotency-Key",)
RESUMED: Final = ("Last-Event-ID",)
TAGGED: Final = ("If-None-Match",)
RANGED: Final = ("Range", "If-Range", *TAGGED)
IMAGE: Final = tuple(f"image/{kind}" for kind in ImageFileType)
PAGE_FILE: Final = ("text/javascript", "text/css", "image/svg+xml", "application/manifest+json")
IMAGE_FILE: Final = {200: IMAGE, 304: None}
NO_MODEL, NO_ENGINE = (e.ModelNotFound,), (e.EngineNotFound,)
NO_SUCH_MODEL = (*NO_MODEL, e.NameAmbiguous)
NO_WORKER, NO_TOKEN = (e.WorkerNotFound,), (e.TokenNotFound,)
NO_WEBHOOK, NO_PRESET = (e.WebhookNotFound,), (e.PresetNotFound,)
NO_JOB, NO_IMAGE, NO_KEY = (e.JobNotFound,), (e.ImageNotFound,), (e.KeyNotFound,)
NO_INPUT = (e.ImageNotFound, http.NoSuchInput, http.InputGone, e.BadMessage)
WRONG_MODEL = (e.ModelMissing, e.WrongModelType, e.ModelNotReady, e.WrongModelBase)
NO_START = (*WRONG_MODEL, e.NotEnoughMemory)
NO_WAIT = (http.TooManyWaits,)
NO_IMAGES = (
    *(e.JobRejected, e.ModelUnreadable, e.EngineFailed, e.WorkerCrashed, e.JobBroke, e.InputsLost),
    *(e.OutOfMemory, e.DeviceUnavailable, e.ImageGone, e.ImageBusy, http.JobRunning, http.JobCancelled),
)
OPENAI = (
    *(*NO_ENGINE, *NO_JOB, *NO_IMAGE, *NO_START, *NO_WAIT, *NO_IMAGES, e.ModelNotFound, http.InputGone),
    *(http.TooManyStreams, e.EmptyMask, e.NotInstalled, e.NotSupported, e.KeyReused, *QUEUE_LIMITS),
    e.DiskFull,
)


# fmt: off
def routes(r: Resources) -> tuple[Route, ...]:
    """The table. Every route may also return the errors that `api.http.framework.openapi` adds to all of
    them."""
    one_model, one_engine = "/v1/models/{model_id}", "/v1/engines/{engine_id}"
    one_worker, one_token = "/v1/workers/{worker_id}", "/v1/workers/tokens/{token_id}"
    one_webhook, one_preset = "/v1/webhooks/{webhook_id}", "/v1/presets/{name}"
    one_job, one_image, one_key = "/v1/jobs/{job_id}", "/v1/images/{image_id}", "/v1/keys/{key_id}"
    pools = r.administration.workers
    return (
        Route("register_model", "POST", "/v1/models", r.models.create, "Register a model",
              {202: model.Model, 201: model.Model, 200: model.Model}, model.ModelInput,
              WaitQuery, (*NO_MODEL, *NO_WAIT, e.NotSupported, e.KeyReused, e.DiskFull), KEYED),
        Route("list_models", "GET", "/v1/models", r.openai.models.list, "List models",
              {200: ModelList}, query=model.ModelListQuery),
        Route("upload_model", "POST", "/v1/models/upload", r.models.upload, "Upload a model",
              {202: model.Model, 201: model.Model, 200: model.Model}, None, WaitQuery,
              (*NO_MODEL, *NO_WAIT, http.TooLarge, e.NotSupported, e.KeyReused, e.DiskFull), KEYED,
              form=model_upload.ModelUpload),
        Route("prune_models", "POST", "/v1/models/prune", r.models.prune,
              "Delete files of deleted models, or count them",
              {200: model.ModelsRemoved}, model.ModelPruneInput),
        Route("scan_models", "POST", "/v1/models/scan", r.model_folders.scan,
              "Look for models in models.folders",
              {202: folders.Scan, 200: folders.Scan}, None, WaitQuery, (*NO_WAIT, e.NoModelFolders)),
        Route("get_scan", "GET", "/v1/models/scan", r.model_folders.show,
              "Show the last scan of models.folders", {200: folders.Scan}, None, WaitQuery, NO_WAIT),
        Route("list_unusable_files", "GET", "/v1/models/scan/unusable", r.model_folders.list_unusable,
              "List the files in models.folders that cannot be used",
              {200: folders.UnusablePage}, query=folders.UnusableQuery),
        Route("get_model", "GET", one_model, r.openai.models.show,
              "Show a model", {200: model.OneModel | OpenAiModel}, None, WaitQuery,
              (*NO_SUCH_MODEL, *NO_WAIT)),
        Route("delete_model", "DELETE", one_model, r.models.delete, "Delete a model that no engine uses",
              {204: None}, None, model.ModelDeleteQuery, (*NO_SUCH_MODEL, e.ModelInUse)),
        Route("retry_model", "POST", f"{one_model}/retry", r.models.retry,
              "Retry a model after an error, or inspect it again",
              {202: model.Model, 200: model.Model}, None, WaitQuery,
              (*NO_SUCH_MODEL, *NO_WAIT, e.IllegalMove, e.KeyReused, e.DiskFull), KEYED),

        Route("get_thumbnail", "GET", f"{one_model}/thumbnail", r.model_folders.show_thumbnail,
              "Download the image beside a model's file", {200: IMAGE},
              errors=(*NO_SUCH_MODEL, http.NoThumbnail)),

        Route("create_engine", "POST", "/v1/engines", r.engines.create, "Create an engine and start it",
              {201: engine.Engine, 200: engine.EngineChecked}, engine_input.ENGINE_BODY,
              engine.EngineCreateQuery,
              (*NO_ENGINE, *NO_START, *NO_WAIT, e.NameTaken, e.NotSupported, e.KeyReused), KEYED),
        Route("list_engines", "GET", "/v1/engines", r.engines.list, "List engines",
              {200: engine.EnginePage}, query=engine.EngineListQuery),
        Route("get_engine", "GET", one_engine, r.engines.show,
              "Show an engine", {200: engine.Engine}, None, WaitQuery, (*NO_ENGINE, *NO_WAIT)),
        Route("edit_engine", "PATCH", one_engine, r.engines.edit,
              "Change an engine, running or not",
              {200: engine.EngineEdited}, engine_input.ENGINE_EDIT, None,
              (*NO_ENGINE, *NO_START, e.NameTaken, e.IllegalMove)),
        Route("delete_engine", "DELETE", one_engine, r.engines.delete,
              "Delete an engine, its jobs and its images",
              {204: None}, None, engine.EngineDeleteQuery, (*NO_ENGINE, e.EngineRunning)),
        Route("start_engine", "PATCH", f"{one_engine}/start", r.engines.start,
              "Start an engine and keep it running",
              {202: engine.Engine, 200: engine.Engine}, None, WaitQuery, (*NO_ENGINE, *NO_START, *NO_WAIT)),
        Route("stop_engine", "PATCH", f"{one_engine}/stop", r.engines.stop, "Stop an engine",
              {202: engine.Engine, 200: engine.Engine}, None, engine.EngineStopQuery, (*NO_ENGINE, *NO_WAIT)),
        Route("pause_engine", "PATCH", f"{one_engine}/pause", r.engines.pause, "Pause an engine's queue",
              {200: engine.Engine}, errors=NO_ENGINE),
        Route("resume_engine", "PATCH", f"{one_engine}/resume", r.engines.resume, "Resume an engine's queue",
              {200: engine.Engine}, errors=NO_ENGINE),
        Route("show_engine_log", "GET", f"{one_engine}/log", r.administration.log,
              "Show the last log lines of an engine's workers",
              {200: administration.EngineLog}, None, administration.LogQuery, NO_ENGINE),
        Route("list_engine_models", "GET", f"{one_engine}/models", r.engines.models,
              "List the models that fit an engine",
              {200: model.ModelPage}, None, engine.EngineModelsQuery, NO_ENGINE),

        Route("get_queue", "GET", "/v1/queue", r.queue.show,
              "Show the queue of all engines", {200: QueueState}),
        Route("pause_queue", "PATCH", "/v1/queue/pause", r.queue.pause,
              "Pause all queues", {200: QueueState}),
        Route("resume_queue", "PATCH", "/v1/queue/resume", r.queue.resume,
              "Resume all queues", {200: QueueState}),

        Route("submit_job", "POST", "/v1/jobs", r.jobs.create, "Submit a job",
              {202: job.Job, 200: job.Job | job.JobChecked}, job_input.JobInput,
              job_input.JobCreateQuery,
              (*NO_ENGINE, *NO_JOB, *NO_IMAGE, *NO_START, *NO_WAIT, http.InputGone, http.WildcardNotFound,
               e.ImageGone, e.EmptyMask, e.NotInstalled, e.NotSupported, e.KeyReused, *QUEUE_LIMITS,
               e.DiskFull),
              KEYED, files=tuple(job_input.BLOB_FIELDS.values())),
        Route("list_jobs", "GET", "/v1/jobs", r.jobs.list,
              "List jobs", {200: job.JobPage}, query=job.JobListQuery),
        Route("get_job", "GET", one_job, r.jobs.show,
              "Show a job", {200: job.Job}, None, WaitQuery, (*NO_JOB, *NO_WAIT)),
        Route("edit_job", "PATCH", one_job, r.jobs.edit, "Change the priority of a waiting job",
              {200: job.Job}, job.JobEdit, None, (*NO_JOB, e.IllegalMove)),
        Route("delete_job", "DELETE", one_job, r.jobs.delete, "Delete an ended job and its images",
              {204: None}, errors=(*NO_JOB, e.JobUnfinished)),
        Route("cancel_job", "POST", f"{one_job}/cancel", r.jobs.cancel, "Cancel a job",
              {200: job.Job}, None, None, (*NO_JOB, e.IllegalMove, e.KeyReused), KEYED),
        Route("retry_job", "POST", f"{one_job}/retry", r.jobs.retry, "Submit a failed or canceled job again",
              {202: job.Job, 200: job.Job}, None, WaitQuery,
              (*NO_JOB, *NO_ENGINE, *NO_START, *NO_WAIT, e.IllegalMove, http.InputGone, e.EmptyMask,
               e.NotInstalled, e.KeyReused, *QUEUE_LIMITS, e.DiskFull), KEYED),
        Route("stream_job_events", "GET", f"{one_job}/events", r.job_events.show, "Stream a job's events",
              {200: JOB_EVENTS, 204: None}, None, None, (*NO_JOB, http.TooManyStreams), RESUMED),

        Route("list_job_deliveries", "GET", f"{one_job}/deliveries", r.webhooks.list_of_job,
              "List what was sent to a job's callback_url",
              {200: hook.DeliveryPage}, None, hook.PageQuery, NO_JOB),
        Route("redeliver_of_job", "POST", f"{one_job}/deliveries/{{delivery_id}}/redeliver",
              r.webhooks.redeliver_of_job, "Send something to a job's callback_url again",
              {202: hook.Delivery}, None, None,
              (*NO_JOB, e.DeliveryNotFound, e.IllegalMove, e.KeyReused), KEYED),
        Route("get_callback_secret", "GET", "/v1/callbacks/secret", r.webhooks.show_secret,
              "Show the secret that callbacks of your jobs are signed with",
              {200: hook.JobSecret}, errors=ASKING),

        Route("create_webhook", "POST", "/v1/webhooks", r.webhooks.create, "Subscribe a receiver to events",
              {201: hook.NewWebhook}, hook.WebhookInput, None, (e.TooManyWebhooks, e.KeyReused), KEYED),
        Route("list_webhooks", "GET", "/v1/webhooks", r.webhooks.list, "List webhooks",
              {200: hook.WebhookPage}, query=hook.PageQuery),
        Route("get_webhook", "GET", one_webhook, r.webhooks.show, "Show a webhook",
              {200: hook.Webhook}, errors=NO_WEBHOOK),
        Route("edit_webhook", "PATCH", one_webhook, r.webhooks.edit,
              "Change a webhook, or begin again with one that has ended",
              {200: hook.Webhook}, hook.WebhookEdit, None, NO_WEBHOOK),
        Route("delete_webhook", "DELETE", one_webhook, r.webhooks.delete,
              "Delete a webhook and its deliveries", {204: None}, errors=NO_WEBHOOK),
        Route("rotate_webhook", "POST", f"{one_webhook}/rotate", r.webhooks.rotate,
              "Replace a webhook's secret", {200: hook.NewWebhook}, None, None,
              (*NO_WEBHOOK, e.KeyReused), KEYED),
        Route("test_webhook", "POST", f"{one_webhook}/test", r.webhooks.test, "Send a test to a webhook",
              {202: hook.Delivery}, None, None, (*NO_WEBHOOK, e.IllegalMove, e.KeyReused), KEYED),
        Route("list_deliveries", "GET", f"{one_webhook}/deliveries", r.webhooks.list_deliveries,
              "List what was sent to a webhook", {200: hook.DeliveryPage}, None, hook.PageQuery, NO_WEBHOOK),
        Route("redeliver", "POST", f"{one_webhook}/deliveries/{{delivery_id}}/redeliver",
              r.webhooks.redeliver, "Send something to a webhook again", {202: hook.Delivery}, None, None,
              (*NO_WEBHOOK, e.DeliveryNotFound, e.IllegalMove, e.KeyReused), KEYED),

        Route("count_tokens", "POST", "/v1/prompts/tokens", r.prompts.count, "Count the tokens of prompts",
              {200: prompt.TokenCounts}, prompt.TokensInput, None, (*NO_ENGINE, *NO_MODEL)),
        Route("list_wildcards", "GET", "/v1/wildcards", r.wildcards.list, "List the lists of wildcards",
              {200: wildcards.WildcardPage}, query=wildcards.WildcardListQuery),
        Route("get_wildcard", "GET", "/v1/wildcards/{name}", r.wildcards.show, "Show the lines of a list",
              {200: wildcards.Wildcard}, None, wildcards.LinesQuery, (http.WildcardNotFound,)),
        Route("list_presets", "GET", "/v1/presets", r.presets.list, "List presets",
              {200: preset.PresetPage}, query=preset.PresetPageQuery),
        Route("get_preset", "GET", one_preset, r.presets.show, "Show a preset",
              {200: preset.Preset}, errors=NO_PRESET),
        Route("save_preset", "PUT", one_preset, r.presets.save, "Save fields of jobs under a name",
              {200: preset.Preset}, job_input.JobFields, preset.SaveQuery,
              (*NO_PRESET, e.TooManyPresets)),
        Route("delete_preset", "DELETE", one_preset, r.presets.delete, "Delete a preset", {204: None},
              errors=NO_PRESET),
        Route("read_infotext", "POST", "/v1/infotext", r.infotexts.read,
              "Read how an image was made, as a job",
              {200: infotext.Infotext}, errors=(http.NoInfotext,), media_types=infotext.MEDIA_TYPES),
        Route("generate_images", "POST", GENERATIONS, r.openai.images.generate,
              "Make images, as OpenAI's clients ask for it",
              {200: OpenAiImages}, OpenAiGeneration, None, OPENAI, KEYED, events=OPENAI_EVENTS),
        Route("edit_images", "POST", EDITS, r.openai.images.edit,
              "Change an image, as OpenAI's clients ask for it",
              {200: OpenAiImages}, OpenAiEdit, None, OPENAI, KEYED, files=("image", "mask"),
              events=OPENAI_EVENTS),
        Route("vary_images", "POST", VARIATIONS, r.openai.images.vary,
              "Make images like an image, as OpenAI's clients ask for it",
              {200: OpenAiImages}, OpenAiVariation, None, OPENAI, KEYED, files=("image",),
              events=OPENAI_EVENTS),
        Route("list_images", "GET", "/v1/images", r.images.list, "List images",
              {200: image.ImagePage}, query=image.ImageListQuery),
        Route("list_image_pages", "GET", "/v1/images/pages", r.gallery.page_starts.list,
              "Count images, and show where their pages begin",
              {200: page_starts.ImagePages}, query=page_starts.ImagePagesQuery),
        Route("download_images", "GET", "/v1/images/zip", r.gallery.archive.show,
              "Download many images as one zip", {200: (archive.ZIP,)}, None, archive.ZipQuery,
              (*NO_IMAGE, e.ImageGone, e.TooManyRequests)),
        Route("delete_images", "POST", "/v1/images/delete", r.gallery.deletion.delete,
              "Delete images by their ids", {200: deletion.ImagesDeleted}, deletion.ImagesDeleteInput),
        Route("prune_images", "POST", "/v1/images/prune", r.pruning.prune, "Delete old images, or count them",
              {200: Pruned}, PruneInput, None, (*NO_ENGINE, e.Unavailable)),
        Route("get_image", "GET", one_image, r.images.show,
              "Show an image's recipe", {200: image.Image}, errors=NO_IMAGE),
        Route("get_image_thumbnail", "GET", f"{one_image}/thumbnail", r.gallery.thumbnails.show,
              "Show a small copy of an image", {200: (thumbnails.WEBP,), 304: None}, None,
              thumbnails.ThumbnailQuery, (*NO_IMAGE, e.ImageGone, http.NoThumbnail), TAGGED),
        Route("get_image_infotext", "GET", f"{one_image}/infotext", r.gallery.infotexts.show,
              "Show what an image's file says of how it was made", {200: infotexts.ImageInfotext},
              errors=(*NO_IMAGE, e.ImageGone)),
        Route("edit_image", "PATCH", one_image, r.images.edit, "Set an image's tags, favorite mark and note",
              {200: image.Image}, image.ImageEdit, None, NO_IMAGE),
        Route("delete_image", "DELETE", one_image, r.images.delete, "Delete an image",
              {204: None}, errors=NO_IMAGE),
        Route("download_image", "GET", f"{one_image}/download", r.download.show, "Download an image",
              {200: IMAGE, 206: IMAGE, 304: None}, None, None,
              (*NO_IMAGE, e.ImageGone, e.ImageBusy, http.RangeNotSatisfiable, *ASKING), RANGED),
        Route("download_linked_image", "GET", f"{one_image}/content", r.openai.linked.show,
              "Download an image by a signed link", {200: IMAGE, 206: IMAGE, 304: None}, None, LinkQuery,
              (*NO_IMAGE, e.ImageGone, e.ImageBusy, http.BadSignature, http.LinkExpired,
               http.RangeNotSatisfiable, *ASKING), RANGED),
        Route("download_reference", "GET", f"{one_image}/reference", r.image_sources.show_reference,
              "Download the reference image", IMAGE_FILE, errors=NO_INPUT, heeds=TAGGED),
        Route("download_mask", "GET", f"{one_image}/mask", r.image_sources.show_mask,
              "Download the mask", IMAGE_FILE, errors=NO_INPUT, heeds=TAGGED),
        Route("download_pose", "GET", f"{one_image}/pose", r.image_sources.show_pose,
              "Download the pose image", IMAGE_FILE, errors=NO_INPUT, heeds=TAGGED),
        Route("download_pose_map", "GET", f"{one_image}/pose_map", r.image_sources.show_pose_map,
              "Download the control map", IMAGE_FILE, None, PoseMapQuery, NO_INPUT, TAGGED),

        Route("list_workers", "GET", "/v1/workers", pools.list,
              "List the workers that there are, and the last that have ended",
              {200: workers.WorkerList}, query=workers.WorkerListQuery),
        Route("create_worker_token", "POST", "/v1/workers/tokens", pools.tokens.create,
              "Create an enrollment token",
              {201: workers.NewWorkerToken}, workers.WorkerTokenInput, errors=(e.KeyReused,), heeds=KEYED),
        Route("list_worker_tokens", "GET", "/v1/workers/tokens", pools.tokens.list,
              "List enrollment tokens", {200: workers.WorkerTokenPage}, query=workers.TokenListQuery),
        Route("get_worker_token", "GET", one_token, pools.tokens.show, "Show an enrollment token",
              {200: workers.WorkerToken}, errors=NO_TOKEN),
        Route("revoke_worker_token", "DELETE", one_token, pools.tokens.revoke,
              "Revoke an enrollment token, and cut off its workers",
              {200: workers.WorkerToken}, errors=NO_TOKEN),
        Route("get_worker", "GET", one_worker, pools.show, "Show a worker",
              {200: workers.Worker}, errors=NO_WORKER),
        Route("change_worker", "PATCH", one_worker, pools.change, "Cordon, uncordon or drain a worker",
              {200: workers.Worker}, workers.WorkerEdit, errors=(*NO_WORKER, e.IllegalMove)),
        Route("revoke_worker", "DELETE", one_worker, pools.revoke, "Cut off a worker",
              {204: None}, errors=(*NO_WORKER, e.IllegalMove)),

        Route("create_key", "POST", "/v1/keys", r.keys.create, "Create an API key",
              {201: key.NewKey}, key.KeyInput, errors=(e.NameTaken, e.KeyReused), heeds=KEYED),
        Route("list_keys", "GET", "/v1/keys", r.keys.list, "List API keys",
              {200: key.KeyPage}, query=key.KeyListQuery),
        Route("get_key", "GET", one_key, r.keys.show, "Show an API key", {200: key.Key}, errors=NO_KEY),
        Route("change_key", "PATCH", one_key, r.keys.change, "Change an API key",
              {200: key.Key}, key.KEY_EDIT, errors=(*NO_KEY, e.NameTaken, e.IllegalMove)),
        Route("rotate_key", "POST", f"{one_key}/rotate", r.keys.rotate,
              "Replace the secret of an API key",
              {200: key.NewKey}, key.KeyRotation, errors=(*NO_KEY, e.IllegalMove, e.KeyReused), heeds=KEYED),
        Route("revoke_key", "DELETE", one_key, r.keys.revoke, "Revoke an API key",
              {200: key.Key}, errors=NO_KEY),

        Route("get_session", "GET", "/v1/session", r.session.show, "Show who you are",
              {200: session.Session}),
        Route("sign_in", "POST", "/v1/session", r.session.sign_in, "Sign in with a key, for browsers",
              {200: session.Session}, session.SignIn, errors=NOT_ADMITTED),
        Route("sign_out", "DELETE", "/v1/session", r.session.sign_out, "Sign out", {204: None}),

        Route("get_liveness", "GET", "/v1/health/live", r.system.live,
              "Check that the API is alive", {200: system.Alive}),
        Route("get_readiness", "GET", "/v1/health/ready", r.system.ready,
              "Check that the server accepts work",
              {200: system.Readiness, 503: system.Readiness}),
        Route("list_devices", "GET", "/v1/devices", r.system.devices, "List devices",
              {200: system.DeviceList}, errors=ASKING),
        Route("get_capabilities", "GET", "/v1/capabilities", r.system.capabilities,
              "Show limits, options and versions",
              {200: system.Capabilities}),
        Route("get_system", "GET", "/v1/system", r.administration.show,
              "Show versions, disks and the state of the server", {200: System}),
        Route("examine_system", "GET", "/v1/system/doctor", r.administration.examine,
              "Check the installation, as spoon doctor does", {200: administration.Diagnosis}),
        Route("stream_events", "GET", "/v1/events", r.events.show, "Stream all events",
              {200: EVENTS}, None, None, (http.TooManyStreams,), RESUMED),
        Route("get_metrics", "GET", "/metrics", r.metrics.show,
              "Metrics for Prometheus", {200: "text/plain"}),
        Route("get_openapi", "GET", "/openapi.json", r.documents.show_openapi,
              "API description (OpenAPI 3.1)",
              {200: "application/json"}),
        Route("get_page", "GET", "/", r.page.show, "The web page",
              {200: "text/html", 304: None}, heeds=TAGGED),
        Route("get_page_file", "GET", "/web/{folder}/{file_name}", r.page.show_file,
              "A script, style or picture of the web page", {200: PAGE_FILE, 304: None},
              errors=(http.NoSuchPath,), heeds=TAGGED),
        Route("get_docs", "GET", "/docs", r.documents.show_docs, "API reference page", {200: "text/html"}),
        *a1111_routes(r.a1111),
    )
# fmt: on
