"""Looks whether a downloaded result holds a model: a mesh with faces, and colours that are more than one."""
import struct
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageStat


class ModelError(Exception):
    """The result is no usable model; the text says what is wrong."""


@dataclass(frozen=True)
class Model:
    """What was found in a result."""

    mesh: Path
    vertices: int
    faces: int
    size: tuple[float, float, float]
    textures: tuple[Path, ...]
    texture_pixels: tuple[int, int]
    vertex_colours: bool


def inspect_model(directory: Path, least_faces: int = 100) -> Model:
    """Read the .obj at the root of an extracted result, its material and textures, and the .glb beside it when there is one.

    Raises ModelError when a face names a vertex that is not there, the mesh has too few faces or no extent, or has no colours.
    """
    meshes = sorted(directory.glob("*.obj"))
    if not meshes:
        raise ModelError("there is no .obj at the root of the result")
    mesh = _read_obj(meshes[0])
    if mesh.faces < least_faces:
        raise ModelError(f"{mesh.mesh.name} has {mesh.faces} faces, fewer than {least_faces}")
    if not all(length > 0 for length in mesh.size):
        raise ModelError(f"{mesh.mesh.name} is flat: {mesh.size}")
    if not mesh.textures and not mesh.vertex_colours:
        raise ModelError(f"{mesh.mesh.name} has neither a texture nor vertex colours")
    for glb in directory.glob("*.glb"):
        _check_glb(glb)
    return mesh


def _read_obj(path: Path) -> Model:
    vertices: list[tuple[float, float, float]] = []
    colours = set()
    texture_vertices = faces = textured_faces = 0
    materials: list[str] = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            kind, _, rest = line.strip().partition(" ")
            if kind == "v":
                numbers = rest.split()
                vertices.append((float(numbers[0]), float(numbers[1]), float(numbers[2])))
                colours.add(tuple(numbers[3:6]))
            elif kind == "vt":
                texture_vertices += 1
            elif kind == "f":
                faces += 1
                textured_faces += _check_face(path, rest.split(), len(vertices), texture_vertices)
            elif kind == "mtllib":
                materials.append(rest)
    size = tuple(max(axis) - min(axis) for axis in zip(*vertices)) if vertices else (0.0, 0.0, 0.0)
    textures = tuple(texture for material in materials for texture in _textures(path.parent / material)) if textured_faces else ()
    pixels = max((_check_texture(texture) for texture in textures), default=(0, 0))
    return Model(
        mesh=path, vertices=len(vertices), faces=faces, size=size, textures=textures, texture_pixels=pixels,
        vertex_colours=len(colours - {()}) > 1,
    )


def _check_face(path: Path, corners: list[str], vertices: int, texture_vertices: int) -> bool:
    """Whether a face has texture coordinates. Raises ModelError for corners that are not there."""
    textured = True
    for corner in corners:
        numbers = corner.split("/")
        if not 1 <= int(numbers[0]) <= vertices:
            raise ModelError(f"{path.name}: a face names vertex {numbers[0]} of {vertices}")
        if len(numbers) < 2 or not numbers[1]:
            textured = False
        elif not 1 <= int(numbers[1]) <= texture_vertices:
            raise ModelError(f"{path.name}: a face names texture vertex {numbers[1]} of {texture_vertices}")
    return textured


def _textures(material: Path) -> list[Path]:
    """The pictures that a material file names. Raises ModelError when it, or one of them, is missing."""
    if not material.is_file():
        raise ModelError(f"the mesh's material file {material.name} is missing")
    lines = (line.strip() for line in material.read_text(errors="replace").splitlines())
    names = [line.split(maxsplit=1)[1] for line in lines if line.startswith("map_Kd ")]
    for name in names:
        if not (material.parent / name).is_file():
            raise ModelError(f"the texture {name} is missing")
    return [material.parent / name for name in names]


def _check_texture(texture: Path) -> tuple[int, int]:
    """The size of a texture in pixels. Raises ModelError when it is one colour."""
    with Image.open(texture) as image:
        size = image.size
        spread = ImageStat.Stat(image.convert("RGB").resize((256, 256))).stddev
    if max(spread) < 2:
        raise ModelError(f"the texture {texture.name} is one colour")
    return size


def _check_glb(path: Path) -> None:
    """Raise ModelError unless a file is binary glTF 2 of the length it declares."""
    with path.open("rb") as file:
        head = file.read(12)
    if len(head) < 12 or struct.unpack("<III", head) != (0x46546C67, 2, path.stat().st_size):
        raise ModelError(f"{path.name} is no binary glTF 2 file")
