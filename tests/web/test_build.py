"""The preparation of what the page runs on: names, what is kept, and that nothing is fetched by address."""

import gzip
import json

import pytest

import build as build_module
import hub.page.assets
from build import BuildError, build, fingerprint, is_current, kind, prune, write
from make.contents import digest, foldered, hashed, own_modules, pyscript_files
from make.fetch import WEB, fetch_once, run
from make.library import browser_sources, imports, own_sources, roots

DIST = WEB / "dist"


def test_the_lock_names_no_addresses_and_checks_every_package():
    """package-lock.json has integrity hashes and no URLs."""
    text = (WEB / "package-lock.json").read_text()
    packages = {name: each for name, each in json.loads(text)["packages"].items() if name}
    assert "://" not in text
    assert packages
    assert all(each["integrity"].startswith("sha512-") for each in packages.values())


def test_the_lock_is_of_this_package():
    """What package.json asks for is what the lock has."""
    wanted = json.loads((WEB / "package.json").read_text())["dependencies"]
    locked = json.loads((WEB / "package-lock.json").read_text())["packages"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted


def test_an_import_counts_wherever_it_stands(tmp_path):
    """Imports inside functions and branches are found; those of the own package are not names of modules."""
    source = tmp_path / "a.py"
    source.write_text("import a.b, c as d\nfrom . import e\ndef f():\n    from g import h\n    import i\n")
    assert imports(source) == {"a.b", "c", "g", "g.h", "i"}


def test_the_shared_modules_decide_what_the_library_has():
    """What hub/protocol imports is in the list, and the tools' own imports are not."""
    assert {"hub/protocol/messages.py", "hub/__init__.py"} <= {
        path.relative_to(WEB.parent).as_posix() for path in browser_sources()
    }
    assert {"datetime", "typing"} <= set(roots())
    assert "argparse" not in roots()


def test_what_is_compiled_is_what_is_served():
    """The build compiles the very files that the hub sends, under the same paths."""
    (python,) = (data for path, data in hub.page.assets._own_files(WEB).items() if path == hub.page.assets.PYTHON)
    assert own_sources() == json.loads(python)


def test_a_name_follows_the_content():
    """Another content is another name, and so another address."""
    assert hashed("a.zip", b"1") == f"a-{digest(b'1')}.zip"
    assert hashed("a.zip", b"1") != hashed("a.zip", b"2")
    folder, files = foldered("x", {"b": b"1", "a": b"2"})
    assert files == {f"{folder}/a": b"2", f"{folder}/b": b"1"}
    assert folder != foldered("x", {"b": b"2", "a": b"1"})[0]


def test_pyscript_comes_with_what_it_always_imports(tmp_path):
    """Static imports and the wanted plugin are followed, other plugins are not, source maps are not named."""
    (tmp_path / "core.js").write_text('import{a}from"./core-A1.js";\n//# sourceMappingURL=core.js.map')
    (tmp_path / "core-A1.js").write_text('x=()=>import("./error-B2.js");y=()=>import("./donkey-C3.js")')
    (tmp_path / "error-B2.js").write_text('import"./core-A1.js"')
    files = pyscript_files(tmp_path)
    assert set(files) == {"core.js", "core-A1.js", "error-B2.js"}
    assert files["core.js"] == b'import{a}from"./core-A1.js";\n'


def test_our_modules_name_the_prepared_files():
    """The start module imports the interpreter module by its hashed name."""
    names = {name: name for name in ("pyodide", "pyscript", "stdlib", "bundle", "index", "info")}
    files, entry = own_modules(names)
    assert f'import "./{entry["interpreter"]}"' in files[entry["start"]].decode()


def test_every_change_of_our_python_is_noticed(monkeypatch):
    """What the browser would have to compile anew makes the prepared files outdated; the same sources do not."""
    before = fingerprint()
    assert fingerprint() == before
    for path, text in own_sources().items():
        changed = {**own_sources(), path: text + "\n"}
        monkeypatch.setattr(build_module, "own_sources", lambda changed=changed: changed)
        assert fingerprint() != before, path
        monkeypatch.undo()


def test_what_is_fetched_is_fetched_once(tmp_path):
    """A change of our own needs no network: only another lock does."""
    made = []

    def fetch(folder):
        folder.mkdir()
        made.append(folder)

    for content in (b"1", b"1", b"2", b"1"):
        fetch_once(tmp_path / "npm", content, fetch)
    assert len(made) == 3
    with pytest.raises(BuildError):
        fetch_once(tmp_path / "npm", b"3", lambda folder: run(["false"]))
    fetch_once(tmp_path / "npm", b"1", fetch)
    assert len(made) == 4


def test_a_folder_with_other_files_is_refused(tmp_path):
    """Whoever names the wrong folder loses nothing."""
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(BuildError, match="holds other files"):
        build(tmp_path, tmp_path)
    assert (tmp_path / "mine").exists()


def test_former_files_go_and_siblings_stay(tmp_path):
    """Prune keeps the named files with their siblings, and removes the rest with its folders."""
    write({"a/x": b"", "a/x.br": b"", "b/y": b"", "b/y.gz": b""}, tmp_path)
    prune(tmp_path, {"a/x"})
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")} == {"a", "a/x", "a/x.br"}


def test_a_missing_file_is_made_again(tmp_path):
    """The folder is current only while every file of the manifest is there."""
    (tmp_path / "manifest.json").write_text('{"inputs": "1", "files": {"a": {}}}')
    assert not is_current(tmp_path, "1")
    (tmp_path / "a").touch()
    assert is_current(tmp_path, "1")
    assert not is_current(tmp_path, "2")


def test_the_prepared_folder_is_whole():
    """Every file is there, its `.gz` is its content, and the page can preload each."""
    if not DIST.exists():
        pytest.skip("the assets are not prepared; make setup does")
    manifest = json.loads((DIST / "manifest.json").read_text())
    for path, about in manifest["files"].items():
        data = (DIST / path).read_bytes()
        small = DIST / f"{path}.gz"
        assert len(data) == about["size"]
        assert not small.exists() or gzip.decompress(small.read_bytes()) == data
    assert {each["path"]: each["as"] for each in manifest["preload"]} == {
        path: kind(path) for path in manifest["files"]
    }
    assert set(manifest["entry"].values()) <= set(manifest["files"])
    assert sum(about["br"] for about in manifest["files"].values()) < 4.3e6
