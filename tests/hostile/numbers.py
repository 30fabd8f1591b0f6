"""The list of hostile inputs: which of the three groups are answered to where.

A number covers those up to the next one that is named. `HERE`: cases of this directory, found by their
ids. Otherwise the tests elsewhere that are exactly that already, or why there is nothing to test.
"""

from dataclasses import dataclass

GROUPS = {"M": (1, 52), "R": (53, 95), "I": (131, 158)}
HERE = "here"


@dataclass(frozen=True)
class There:
    """Tests as `file::function` below tests/."""

    tests: tuple[str, ...]


@dataclass(frozen=True)
class NotApplicable:
    why: str


def _there(*tests: str) -> There:
    return There(tests)


HERE_ALONE = (
    # M: manifests
    1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19, 20, 22, 23, 25, 26, 28, 29, 31, 32, 34, 35, 37, 38,
    40, 41, 43, 44, 46, 47, 49, 50, 52,
    # R: REST
    53, 55, 56, 58, 59, 61, 68, 70, 71, 73, 74, 76, 77, 79, 80, 82, 83, 85, 86, 88, 89, 95,
    # I: images
    131, 133, 134, 136, 139, 140, 142, 143, 145, 146, 148, 149, 151, 152, 154, 155, 157,
)  # fmt: skip
ELSEWHERE: dict[int, There | NotApplicable] = {
    62: _there(
        "reconciler/test_slow_clients.py::test_a_thousand_unfinished_requests_delay_nobody",
        "reconciler/test_listening.py::test_health_and_the_end_among_a_thousand_half_open_connections",
    ),
    64: _there(
        "reconciler/test_slow_clients.py::test_an_answer_must_be_taken_at_a_pace",
        "reconciler/test_slow_clients.py::test_too_many_connections_push_out_the_oldest",
    ),
    65: _there(
        "reconciler/test_slow_clients.py::test_pipelined_requests_are_answered_up_to_a_number"
    ),
    67: _there(
        "reconciler/test_tls.py::test_tls_1_1_is_refused",
        "reconciler/test_tls.py::test_nobody_negotiates_again",
    ),
    91: _there("reconciler/test_api_hostile.py::test_a_defect_tells_an_id_and_nothing_else"),
    92: _there(
        "reconciler/test_access.py::test_a_viewer_sees_no_values_of_the_environment",
        "reconciler/test_access.py::test_a_viewer_cannot_guess_values_by_asking_for_them",
        "reconciler/test_access.py::test_a_viewer_sees_no_signature_in_the_address_of_an_image",
    ),
    94: NotApplicable(
        "nothing is forwarded to and nothing run in a machine, so there is no target"
    ),
    137: _there(
        "hyper/test_domain_xml.py::test_the_backing_chain_is_spelt_out_and_ends",
        "hyper/test_libvirt.py::test_qemu_gets_the_overlay_and_not_the_base",
        "hyper/test_libvirt.py::test_a_base_that_leads_elsewhere_is_refused",
    ),
    158: _there(
        "hyper/test_docker_driver.py::test_labels_of_an_image_do_not_matter",
        "hyper/test_docker_driver.py::test_volumes_of_the_image_go_with_the_machine",
    ),
}
ACCOUNTS: dict[int, str | There | NotApplicable] = dict.fromkeys(HERE_ALONE, HERE) | ELSEWHERE
