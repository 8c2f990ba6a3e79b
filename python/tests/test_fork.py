"""A fork while a publisher runs: the child gets an error from each call, and whatever it does leaves the parent alone."""

import pytest
from conftest import lines, run

FORK = """
    import os, sys, traceback
    import spillring

    spill, output, ring_dir = sys.argv[1:4]
    settings = {"ring_dir": ring_dir} if ring_dir else {}
    publisher = spillring.Publisher(spill, f"jsonl:{output}", **settings)
    for number in range(500):
        publisher.publish("agent", {"number": number})

    child = os.fork()
    if child == 0:
        try:
            calls = [
                lambda: publisher.publish("agent", {"number": -1}),
                lambda: publisher.try_publish("agent", {"number": -1}),
                publisher.flush, publisher.close, publisher.stats,
            ]
            for call in calls:
                try:
                    call()
                except spillring.ForkedError as error:
                    assert "fork first" in str(error), error
                else:
                    os._exit(1)
            END
        except Exception:
            traceback.print_exc()
            os._exit(2)
    else:
        # The child is gone before the parent goes on.
        assert os.waitpid(child, 0)[1] == 0
        for number in range(500, 1_000):
            publisher.publish("agent", {"number": number})
        account = publisher.close(60)
        assert (account["delivered"], sum(account["lost"].values())) == (1_000, 0), account
"""

ENDS = {
    "by its own exit": "sys.exit()",
    "by dropping it": "del publisher, calls, call; sys.exit()",
    "by leaving the block": """
            with publisher:
                sys.exit()""",
    "in another fork": """
            if os.fork():
                sys.exit(os.waitpid(-1, 0)[1])""",
}


@pytest.mark.parametrize("ring", ["memory", "file"])
@pytest.mark.parametrize("end", ENDS)
def test_a_child_gets_errors_and_the_parent_goes_on(tmp_path, end, ring):
    output = tmp_path / "audit.jsonl"
    ring_dir = tmp_path / "ring" if ring == "file" else ""
    printed = run(FORK.replace("END", ENDS[end].lstrip("\n ")), tmp_path / "spill", output, ring_dir)
    assert printed == ""
    assert [entry["number"] for entry in lines(output)] == list(range(1_000))


def test_publishers_after_the_fork_are_each_process_s_own(tmp_path):
    program = """
        import os, sys
        import spillring

        child = os.fork()
        name = "parent" if child else "child"
        with spillring.Publisher(f"{sys.argv[1]}/{name}", f"jsonl:{sys.argv[1]}/{name}.jsonl") as publisher:
            publisher.publish("agent", {"of": name})
        if child:
            assert os.waitpid(child, 0)[1] == 0
    """
    run(program, tmp_path)
    for name in ("parent", "child"):
        assert lines(tmp_path / f"{name}.jsonl") == [{"of": name}]
