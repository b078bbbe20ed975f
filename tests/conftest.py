"""Settings of every test: one BLAS thread per worker, no windows, and how hard Hypothesis searches.

Hypothesis profiles, chosen by HYPOTHESIS_PROFILE (else `ci` where CI is set, else `dev`):

    dev      15 examples per property: quick, a new search every run
    ci       60 examples, derandomized: the same search every run, so a red build can be repeated
    nightly  1000 examples, printing the blob that replays a failure
"""

import os

# pytest-xdist starts one process per core: more BLAS threads than that only fight each other. BLAS reads
# these when NumPy is loaded, so they are set before anything below can import it.
if "PYTEST_XDIST_WORKER" in os.environ:
    for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(_name, "1")
os.environ["MPLBACKEND"] = "Agg"  # read by Matplotlib when (and only if) a test imports it

from hypothesis import HealthCheck, settings

# Shapes and values are drawn from composite strategies that sometimes filter: slow to draw is no failure.
# Nor is a slow example: this machine may be busy.
_common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}

settings.register_profile("dev", max_examples=15, **_common)
settings.register_profile("ci", max_examples=60, derandomize=True, **_common)
settings.register_profile("nightly", max_examples=1000, print_blob=True, **_common)

_in_ci = os.environ.get("CI", "").lower() not in ("", "0", "false")
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if _in_ci else "dev"))
