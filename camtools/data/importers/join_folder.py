"""A folder with one file for each channel, as nnU-Net wants it, as a folder with one 4D file for each case."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from camtools.data.channel_names import channels_by_case
from camtools.data.errors import DataError
from camtools.data.file_kinds import is_image_name
from camtools.data.files import atomic_folder, check_free_folder
from camtools.data.folders import files_below
from camtools.data.importers.channel_files import join_channels
from camtools.data.importers.dataset import check_folders, stop_at, stop_at_broken_links

__all__ = ["join_folder"]


def join_folder(source: str | Path, out_dir: str | Path) -> tuple[list[Path], list[Path]]:
    """Write ``<case>.nii.gz`` for each case whose files end in ``_0000``, ``_0001``, ...

    The channels are in the order of their numbers. Sub-folders are kept.

    Args:
        source: folder of the files, in any format that :func:`camtools.data.read_volume` reads.
        out_dir: new or empty folder outside ``source``. It is complete or absent.

    Returns:
        The new files, and the images of ``source`` whose names have no number, which are left out.

    Raises:
        DataError: no such files, a case without all the channels of the others (all are named), files of a case on
            different voxels, or damaged files.
        FileExistsError: ``out_dir`` is a file or has content.
    """
    source, out_dir = Path(source), Path(out_dir)
    check_folders(source, out_dir)
    check_free_folder(out_dir)
    paths = [path for path in files_below(source) if is_image_name(path)]
    stop_at_broken_links(paths, source)
    cases = channels_by_case(paths)
    numbers = sorted({number for files in cases.values() for number in files})
    if len(numbers) < 2:
        raise DataError(
            f"Expected files of two or more channels, such as CASE_0000.nii.gz and CASE_0001.nii.gz, found "
            f"{len(numbers)} numbers of channels below {source}. Check the path."
        )
    problems = []
    for case, files in cases.items():
        missing = ", ".join(f"{number:04d}" for number in numbers if number not in files)
        if missing:
            problems.append(f"{case} has no channel {missing}")
    stop_at(problems, source)
    targets = {case: f"{case.relative_to(source).as_posix()}.nii.gz" for case in cases}
    with atomic_folder(out_dir) as partial:
        for case, files in tqdm(cases.items(), desc="channels", unit="case", disable=None):
            target = partial / targets[case]
            target.parent.mkdir(parents=True, exist_ok=True)
            join_channels([files[number] for number in numbers], target)
    joined = {path for files in cases.values() for path in files.values()}
    return [out_dir / name for name in targets.values()], [path for path in paths if path not in joined]
