import json
import re

from shared.settings import Settings
from tests.deploy.files import compose, dockerfile, final_stage, pyproject, read


def instruction(name: str) -> list[str]:
    return [argument for found, argument in final_stage() if found == name]


def test_one_image_serves_every_role() -> None:
    assert [json.loads(argument) for argument in instruction("ENTRYPOINT")] == [["actrobust"]]


def test_the_image_runs_as_the_same_numeric_user_as_the_compose_file_says() -> None:
    (user,) = instruction("USER")
    assert user == "10001:10001"
    assert {compose()["services"][name]["user"] for name in ("api", "worker", "migrate")} == {user}


def test_the_kept_stage_holds_no_source_and_of_debian_only_the_compiler_that_training_uses() -> None:
    assert instruction("COPY") == ["--from=build /app /app"]
    installed = re.findall(r"apt-get install (.*?) \\", read("Dockerfile"))
    assert installed == ["--yes --no-install-recommends g++"]


def test_another_wheel_index_is_possible_and_empty_unless_asked_for() -> None:
    assert ("ARG", 'TORCH_INDEX_URL=""') in dockerfile()
    assert compose()["services"]["api"]["build"]["args"]["TORCH_INDEX_URL"] == ""


def test_the_image_sets_only_settings_that_exist() -> None:
    named = set(re.findall(r"ACTROBUST_(\w+)=", " ".join(instruction("ENV"))))
    assert named == {"DATA_DIR", "DATASETS_DIR", "LOG_FORMAT"}
    assert {name.lower() for name in named} <= set(Settings.model_fields)


def test_folders_that_volumes_are_mounted_on_exist_and_belong_to_the_user() -> None:
    made = next(argument for argument in instruction("RUN") if "install --directory" in argument)
    mounts = {mount.split(":")[1] for mount in compose()["services"]["worker"]["volumes"]}
    assert mounts == {"/data", "/datasets"}
    assert "install --directory --owner 10001 --group 10001 /data /datasets" in made


def test_the_build_is_given_every_package_and_nothing_of_the_checkout_beside() -> None:
    packages = {name.rstrip("*") for name in pyproject()["tool"]["setuptools"]["packages"]["find"]["include"]}
    lines = [line for line in read(".dockerignore").splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    admitted = {line[1:] for line in lines if line.startswith("!")}
    assert admitted == {*packages, "pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
