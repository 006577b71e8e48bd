"""From uploaded parts to the photos of a WebODM task.

``parts`` reads parts in place as one file, ``zips`` reads zips, ``archives`` lists a set's members and refuses hostile sets,
``names`` makes file names, ``gcp`` reads the texts beside the photos, ``write`` writes the photos into a directory once,
``run`` takes a scan through all of that. ``app_extensions.shared.photo_files`` defines what counts as a photo.
"""
