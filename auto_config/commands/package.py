"""`package`: one zip of a trained bundle for others."""

import re
from pathlib import Path

from auto_config.arguments import Names, Place
from auto_config.errors import UserError


def package(
    bundle: Place,
    output: Place,
    *,
    results: Place | None = None,
    authors: str | None = None,
    copyright: str | None = None,
    data_source: str | None = None,
    data_license: str | None = None,
    version: str | None = None,
    changes: str | None = None,
    weights_url: str | None = None,
    allow: Names | None = None,
    with_atlas: bool = False,
    overwrite: bool = False,
) -> int:
    """Write a zip of a trained bundle for others: no data, no names of cases, no places of files.

    The zip holds one folder with what predicts, describes and trains; BUNDLE is not changed. Beside it a test in the
    style of MONAI's model zoo, test_NAME.py. docs/README.md gets the numbers of an evaluation and of the calibration.

    Args:
        bundle: folder of a trained bundle
        output: the zip to write
        results: folder that `evaluate` wrote: its numbers go into docs/README.md
        authors: of the model
        copyright: of the model
        data_source: where the training data come from
        data_license: of the training data
        version: of the model, three numbers; that of the bundle if not given
        changes: what is new in this version
        weights_url: address of a folder that files above 1024 kB will be fetched from; the zip then only lists them
        with_atlas: hand on pictures of a case in atlas/, too; drawings of the mean shape always are
        allow: names of cases that may stand in the package because they are words as well: image,head
        overwrite: replace files that are there

    Returns:
        The exit status: 0, or 1 if the package was written and the zoo would refuse it.

    Raises:
        UserError: not a trained bundle, damaged weights, files in the way, results that are none, names of cases or
            places that would be handed on.

    Examples:
        auto_config package brain_landmarks brain_landmarks.zip --results test_results --authors "A. Nn"
    """
    from auto_config.bundle.atlas.document import case_pictures, without_case_pictures
    from auto_config.bundle_scripts.files.text import atomic_write_text
    from auto_config.packaging.archive import README, card_of, findings_in, refuse_leaks, test_of, write_zip
    from auto_config.packaging.card import says_accuracy
    from auto_config.packaging.contents import in_form_of_the_hook, large_files, shared_content, with_metadata
    from auto_config.wording import counted

    root, target = Path(bundle), Path(output)
    if not (root / "configs" / "metadata.json").is_file():
        raise UserError(f"{root}: is no bundle, it has no configs/metadata.json; give a folder that `create` wrote")
    if target.suffix != ".zip":
        raise UserError(f"{target}: the name of the output must end in .zip")
    if version is not None and not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise UserError(f"--version {version}: must be three numbers, as in 0.2.0")
    name = root.resolve().name
    test = target.with_name(f"test_{name}.py")
    for path in (target, test):
        if path.exists() and not overwrite:
            raise UserError(f"{path}: exists already; give --overwrite to replace it, or another name")
    words = {"authors": authors, "copyright": copyright, "data_source": data_source, "name": name}
    content = with_metadata(shared_content(root), words, version, changes or "")
    shown = case_pictures(content)
    content = content if with_atlas else without_case_pictures(content)
    content[README] = card_of(content, results, authors, data_source, data_license).encode("utf-8")
    if data_license:
        content["docs/data_license.txt"] = f"{data_license.strip()}\n".encode()
    refuse_leaks(root, content, allow or ())
    # Not before names are looked for: the hook's form has letters such as an umlaut as \u and a number.
    as_it_lies, content = content, in_form_of_the_hook(content)
    large: list[str] = []
    if weights_url:
        content, large = large_files(content, weights_url, as_it_lies)
    tests_of_the_zoo = test_of(name, content)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_zip(target, name, content)
    atomic_write_text(test, tests_of_the_zoo)
    findings = findings_in(name, content)
    for finding in findings:
        print(finding)
    size = target.stat().st_size / 1e6
    print(f"{target}: {len(content)} files, {size:.1f} MB; {test}: a test for the zoo's ci/unit_tests")
    if shown:
        said = "are in the package" if with_atlas else "were left out; --with_atlas hands them on"
        print(f"{counted(len(shown), 'picture')} of a case in atlas/ {said}")
    for file in large:
        print(f"upload {root / file} to {weights_url}; large_files.yml names it with its hash")
    if not says_accuracy(content[README].decode("utf-8")):
        print("docs/README.md says nothing of accuracy: --results FOLDER takes the numbers that `evaluate` wrote")
    failed = sum(finding.state == "failed" for finding in findings)
    if failed:
        print(f"{counted(failed, 'check')} failed, see above: mend {root} or the options, and package it again")
    return 1 if failed else 0
