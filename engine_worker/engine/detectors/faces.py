"""The mediapipe detector: the lines of faces. Its network comes with the package."""

from typing import Final

from PIL import Image

from engine_worker.engine.runtime.late_import import late_import

# More than on most photographs of groups; each further one costs milliseconds.
_MAX_FACES: Final = 10


def find_faces(image: Image.Image) -> Image.Image:
    """Ovals, eyes, brows and lips of the faces in an RGB image, coloured on black, about in its size.

    Raises: NotInstalled.
    """
    with late_import("mediapipe", "pose"):
        import mediapipe  # noqa: F401 - controlnet_aux does without it, and breaks only when it is called
        from controlnet_aux import MediapipeFaceDetector

    side_px = min(image.size)
    drawn: Image.Image = MediapipeFaceDetector()(
        image, max_faces=_MAX_FACES, detect_resolution=side_px, image_resolution=side_px
    )
    return drawn
