"""From uploaded parts to the photos of a WebODM task.

``parts`` reads parts in place as one file, ``archives`` lists what they hold and refuses what is hostile, ``names``
makes file names, ``images`` tells photos from what only looks like one, ``write`` puts photos into a directory once,
``run`` leads a scan through all of that.
"""
