"""What `./webodm.sh lint` must not take for unused: names that others call. Each line counts as a use; say by whom."""
# ruff: noqa: F821, B018

# Django, DRF, Celery and gunicorn, by name
HostConfig, OpenScanConfig, TapisConfig, Command
_.add_arguments, _.handle
_._create, _._list, _._grant, _._revoke, _._approve, _._refuse
_.has_add_permission, _.has_change_permission, _.has_delete_permission, _.has_decide_permission, _.has_steer_permission
_.get_fields, _.get_readonly_fields, _.get_changeform_initial_data, _.response_add, _.save_model, _.formfield
_.clean_client_secret, _.clean_subject, _.clean_issuer
_.to_python, _.value_to_string, _.from_db_value, _.get_prep_value, _.get_lookup
_.new_file, _.receive_data_chunk, _.file_complete, _.set_headers, _.collect
_.authenticate_header, _.get_jwt_value, _.select_renderer
_.readable, _.readinto, _.seekable

# WebODM's plugins, by name
_.root_mount_points, _.api_mount_points, _.app_mount_points, _.main_menu, _.include_js_files

# Documented import paths that the user's own scripts call
_.discover_project_systems, _.scan_system_for_flights, _.discover_and_create_projects

# The door to WebODM, as tests/contract uses it against a real one
permit_node, delete_project, cancel_task
last_own_job_at

# Compared with the documents by a test
diagram

# The decision on a request for credit and the steps of a sync, which tests take one by one
decide, workers_of, take_plan
