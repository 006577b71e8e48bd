"""The preset for objects on a turntable: every WebODM has it, scans use it, and an administrator's changes stay."""
import pytest

from app_extensions.host import presets
from app_extensions.openscan.conf import conf
from app_extensions.openscan.processing import object_preset


@pytest.mark.django_db
def test_every_webodm_has_the_preset_and_scans_use_it() -> None:
    from app.models import Preset

    assert conf.preset == object_preset.NAME
    assert {option["name"]: option["value"] for option in presets.preset_options(conf.preset)} == object_preset.OPTIONS
    assert not any(isinstance(value, (int, float)) and not isinstance(value, bool) for value in object_preset.OPTIONS.values())
    Preset.objects.filter(name=object_preset.NAME).update(options=[{"name": "gltf", "value": True}])
    object_preset.ensure_preset()
    assert presets.preset_options(conf.preset) == [{"name": "gltf", "value": True}], "an administrator's change stays"
    Preset.objects.filter(name=object_preset.NAME).delete()
    object_preset.ensure_preset()
    assert presets.preset_options(conf.preset), "made again after the next migrate"


def test_our_engine_and_odm_know_its_options() -> None:
    from node.engine.options import BY_NAME

    # gltf is ODM's: our engine writes a GLB in any case
    assert set(object_preset.OPTIONS) - set(BY_NAME) <= {"auto-boundary", "gltf"}
