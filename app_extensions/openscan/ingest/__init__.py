"""From uploaded parts to the photos of a WebODM task.

``parts`` reads parts in place as one file, ``zips`` reads zips, ``archives`` lists what a set holds and refuses what is
hostile, ``names`` makes file names, ``gcp`` reads the texts beside the photos, ``write`` puts photos into a directory once,
``run`` leads a scan through all of that. What a photo is, is defined in ``app_extensions.shared.photo_files``.
"""
