"""The grammar that docs/cli.md writes down holds for every verb."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

from promptcodec.bitstream.tiling import Rect
from promptcodec.cli import app
from promptcodec.errors import UsageError
from promptcodec.steer.controls import region_map

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")
COMMANDS = typer.main.get_command(app.app).commands
OPTIONS = [
    (verb, option) for verb, command in COMMANDS.items() for option in command.params if option.opts[0].startswith("-")
]
WRITING = {"encode", "decode", "compare", "eval", "plot", "maps", "train", "import"}
ENVELOPE = ["schema", "verb", "record"]


def records(out):
    found = [json.loads(line) for line in out.splitlines()]
    for record in found:
        assert list(record)[:3] == ENVELOPE
        assert record["schema"] == 1
        assert f"`{record['record']}`" in PAGE
    return found


def test_every_verb_stands_in_the_page_and_in_a_group(run):
    code, out, _ = run("--help")
    assert code == 0
    assert out.index("Files") < out.index(" encode ") < out.index("Research") < out.index("│ train ")
    assert set(COMMANDS) == {verb for verbs in app.VERBS.values() for verb in verbs}
    first = PAGE.split("## One grammar")[0]
    for group, verbs in app.VERBS.items():
        listed = first[first.index(f"**{group}** (") :].split(")")[0]
        assert re.findall("`(.*?)`", listed) == list(verbs)


def test_outputs_are_called_so_everywhere():
    outputs = {verb for verb, option in OPTIONS if option.opts == ["-o", "--output"]}
    assert outputs == WRITING
    assert not [verb for verb, option in OPTIONS if "--out" in option.opts]


def test_lists_are_by_repetition():
    for verb, option in OPTIONS:
        assert "comma" not in (option.help or ""), f"{verb} {option.opts}"
        name = option.opts[-1]
        assert not option.multiple or name == "--data" or not name.endswith("s"), f"{verb} {name} is a plural"


def test_set_is_for_adapters_alone(run, tmp_path):
    assert {verb for verb, option in OPTIONS if "--set" in option.opts and not option.hidden} == {
        "encode",
        "decode",
        "compare",
    }
    code, out, err = run("train", tmp_path / "r.toml", "-o", tmp_path / "run", "--set", "batch=4")
    assert (code, out) == (2, "")
    assert "--with batch=4" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments", [("compare", "a.png", "--codec", "jpeg,webp"), ("eval", "a.png", "--codec", "jpeg,webp"),
                  ("eval", "a.png", "--metric", "psnr_yuv,dists"), ("plot", "rd", "a.png", "--curve", "kodak/vtm,x"),
                  ("eval", "a.png", "--codec", "jpeg", "-q", "10,30"), ("eval", "a.png", "--anchor", "jpeg,webp")],
)  # fmt: skip
def test_commas_are_refused_with_what_to_write(run, folder, monkeypatch, arguments):
    monkeypatch.chdir(folder)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    if "-q" in arguments:
        assert "give the option again" in err
    else:
        option, value = arguments[-2:]
        assert all(f"{option} {part}" in err for part in value.split(","))
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "b.jpg", "sub"]


def test_one_parser_of_rectangles(run, folder):
    assert Rect.parse(" 10, 20 ,30,40 ") == Rect(10, 20, 30, 40)
    assert Rect.parse("-5,-6,7,8") == Rect(-5, -6, 7, 8)
    for text in ("", "1,2,3", "1,2,3,4,5", "1,2,3,-4", "1;2;3;4", "a,b,c,d", "1.5,2,3,4", "١,٢,٣,٤"):
        assert Rect.parse(text) is None, text
    assert str(Rect.parse("1,2,3,4")) == "1,2,3,4"
    mask = region_map("-2,1,5,2", 6, 8)[0, 0].numpy()  # cut at the border
    assert np.array_equal(mask, np.pad(np.ones((2, 3), np.float32), ((1, 3), (0, 5))))
    said = [
        run(*verb, "--crop", "1,2,0,4")[::2] for verb in (("decode", folder / "x.ptc"), ("compare", folder / "a.png"))
    ]
    assert said == [(2, "promptcodec: --crop takes x,y,w,h in pixels, such as 100,50,640,480, not '1,2,0,4'\n")] * 2


def test_a_file_with_a_comma_in_its_name_is_no_list(tmp_path, monkeypatch):
    from promptcodec.cli.options import names_of

    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        names_of("--curve", ["a,b.json"])
    Path("a,b.json").touch()
    assert names_of("--curve", ["a,b.json", "x", " x "]) == ["a,b.json", "x"]


def test_files_have_one_kind_of_record(run, folder):
    code, out, _ = run("encode", folder / "a.png", folder / "none.png", "--json")
    coded, failed = records(out)
    keys = [*ENVELOPE, "file", "output", "status", "message", "bytes", "picture_bytes", "width", "height", "seconds"]
    assert code == 1
    assert list(coded) == list(failed) == keys
    size = (folder / "a.ptc").stat().st_size
    assert (coded["verb"], coded["status"], coded["bytes"]) == ("encode", "done", size)
    assert coded["picture_bytes"] == (folder / "a.png").stat().st_size
    assert (failed["status"], failed["bytes"], failed["width"]) == ("failed", None, None)
    back = folder / "back.png"
    (decoded,) = records(run("decode", folder / "a.ptc", "-o", back, "--json")[1])
    (verified,) = records(run("verify", folder / "a.ptc", "--json")[1])
    assert list(decoded) == list(verified) == keys
    assert (decoded["output"], decoded["picture_bytes"]) == (str(back), back.stat().st_size)
    code, out, err = run("info", folder / "a.ptc", folder / "a.png", "--json")
    told, refused = records(out)
    assert (code, refused["status"]) == (1, "failed")
    assert refused["message"] in err
    for record in (decoded, verified, told):
        for key in ("bytes", "width", "height", "status"):
            assert record[key] == coded[key], (record["verb"], key)
        assert record["file"] == str(folder / "a.ptc")


def test_other_records(run):
    for arguments in (("models", "--all"), ("curves",), ("profile", "nano"), ("profile", "--papers")):
        code, out, _ = run(*arguments, "--json")
        assert code == 0
        assert {record["verb"] for record in records(out)} == {arguments[0]}


@pytest.mark.parametrize(
    ("words", "wanted"), [("promptcodec enc", {"encode"}), ("promptcodec compare --codec av", {"avif", "avif-psnr"}),
                          ("promptcodec encode --model na", {"nano"}), ("promptcodec encode --look", {"--look"})],
)  # fmt: skip
def test_shells_complete(words, wanted):
    line = words.split()
    environment = os.environ | {
        "_PROMPTCODEC_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(line) - 1),
    }  # fmt: skip
    code = "import sys; sys.argv = ['promptcodec']; from promptcodec.cli.app import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert wanted <= set(done.stdout.split())
    assert all(word.startswith(line[-1]) for word in done.stdout.split())


def test_completion_is_offered(run):
    assert "--install-completion" in run("--help")[1]
