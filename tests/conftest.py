"""How long Hypothesis searches: `ci` unless `--hypothesis-profile=deep` says otherwise."""

from hypothesis import HealthCheck, settings

_SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile(
    "ci",
    deadline=None,
    print_blob=True,
    max_examples=100,
    stateful_step_count=50,
    suppress_health_check=_SLOW_IS_FINE,
)
settings.register_profile(
    "deep", parent=settings.get_profile("ci"), max_examples=5_000, stateful_step_count=150
)
settings.load_profile("ci")
