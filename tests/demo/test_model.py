"""What the demonstrations take for a model, and what they do not."""
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from dev.demo.model import ModelError, inspect_model
from tests.plugin import ROOT


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A directory with the quick engine's model, as a result zip has it at its root."""
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    out.mkdir()
    (images / "a.jpg").touch()
    options = tmp_path / "options.json"
    options.write_text(json.dumps([]))
    engine = ROOT / "tests" / "support" / "quick_engine.py"
    subprocess.run([sys.executable, str(engine), "--images", str(images), "--out", str(out), "--options", str(options)], check=True)
    return out / "odm_texturing"


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_textured_mesh(result: Path) -> None:
    model = inspect_model(result)
    assert (model.faces, model.vertices) == (300, 216)
    assert model.size == (1.0, 1.0, 1.0)
    assert model.texture_pixels == (64, 64)
    assert [path.suffix for path in model.textures] == [".png"]


def test_a_mesh_with_vertex_colours_and_no_texture(result: Path) -> None:
    obj = result / "odm_textured_model_geo.obj"
    lines = [line for line in obj.read_text().splitlines() if not line.startswith(("mtllib", "usemtl"))]
    obj.write_text("\n".join(f"{line} {number % 3} 0.5 0.5" if line.startswith("v ") else line for number, line in enumerate(lines)))
    model = inspect_model(result)
    assert model.vertex_colours and not model.textures


def test_a_mesh_without_colours(result: Path) -> None:
    change(result / "odm_textured_model_geo.obj", "mtllib odm_textured_model_geo.mtl\n", "")
    with pytest.raises(ModelError, match="neither a texture nor vertex colours"):
        inspect_model(result)


def test_missing_and_empty_pieces(result: Path) -> None:
    texture = result / "odm_textured_model_geo_material0000_map_Kd.png"
    Image.new("RGB", (64, 64), (10, 20, 30)).save(texture)
    with pytest.raises(ModelError, match="one colour"):
        inspect_model(result)
    texture.unlink()
    with pytest.raises(ModelError, match=r"texture .* is missing"):
        inspect_model(result)
    (result / "odm_textured_model_geo.mtl").unlink()
    with pytest.raises(ModelError, match="material file"):
        inspect_model(result)
    (result / "odm_textured_model_geo.obj").unlink()
    with pytest.raises(ModelError, match=r"no \.obj"):
        inspect_model(result)


def test_broken_meshes(result: Path) -> None:
    obj = result / "odm_textured_model_geo.obj"
    whole = obj.read_text()
    obj.write_text(whole + "f 1/1 2/2 9999/1\n")
    with pytest.raises(ModelError, match="vertex 9999 of 216"):
        inspect_model(result)
    obj.write_text(whole + "f 1/1 2/2 3/9999\n")
    with pytest.raises(ModelError, match="texture vertex 9999"):
        inspect_model(result)
    obj.write_text("".join(line + "\n" for line in whole.splitlines() if not line.startswith("f ")))
    with pytest.raises(ModelError, match="0 faces"):
        inspect_model(result)
    obj.write_text("\n".join(" ".join([*line.split()[:3], "0"]) if line.startswith("v ") else line for line in whole.splitlines()))
    with pytest.raises(ModelError, match="is flat"):
        inspect_model(result)


def test_a_broken_glb(result: Path) -> None:
    glb = result / "odm_textured_model_geo.glb"
    glb.write_bytes(glb.read_bytes()[:-1])
    with pytest.raises(ModelError, match="no binary glTF 2"):
        inspect_model(result)
