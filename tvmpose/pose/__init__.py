"""People: their skeletons, where to look for them, who is who, and drawing. Pipeline puts it together.

Named here and imported when asked for: most of the package needs less than the pipeline does.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvmpose.pose.pipeline import Pipeline, TrackedPerson

__all__ = ["Pipeline", "TrackedPerson"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from tvmpose.pose import pipeline

    return getattr(pipeline, name)
