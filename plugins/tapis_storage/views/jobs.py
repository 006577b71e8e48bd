"""Progress of discoveries and syncs, and the start of a discovery in the background."""
from rest_framework.request import Request
from rest_framework.response import Response

from app_extensions.tapis import jobs
from app_extensions.tapis.models import TapisJob
from app_extensions.tapis.problems import TapisProblem

from .common import TapisAPIView
from .storage import access_for


class JobView(TapisAPIView):
    """One job of the caller's."""

    def get(self, request: Request, job_id: str) -> Response:
        """``GET jobs/<job_id>/``"""
        job = jobs.find_job(request.user, job_id)
        if job is None:
            raise TapisProblem("There is no such job of yours.", status=404, error="Job not found")
        answer = {"success": True, "job": jobs.as_dict(job)}
        if job.kind == TapisJob.DISCOVERY:
            answer.update({"progress": jobs.progress_of(job)} if job.active else {"results": job.results})
        return Response(answer)


class JobsView(TapisAPIView):
    """The caller's latest jobs."""

    def get(self, request: Request) -> Response:
        """``GET jobs/``"""
        found = []
        for job in jobs.latest(request.user):
            more = {"progress": jobs.progress_of(job)} if job.kind == TapisJob.DISCOVERY and job.active else {}
            found.append({**jobs.as_dict(job), "project_id": job.flight.project_id if job.flight else None, **more})
        return Response({"success": True, "jobs": found, "count": len(found)})


class TriggerView(TapisAPIView):
    """Starts a discovery in the background, or joins the one under way."""

    def post(self, request: Request) -> Response:
        """``POST /api/tapis-discovery/trigger/``"""
        access = access_for(request)
        access.token()  # a missing or ended token is told now, not in the background
        job, joined = jobs.start_discovery(access)
        verb = "is under way already" if joined else "has started"
        return Response({"success": True, "message": f"The discovery {verb}.", "task_id": str(job.pk)}, status=202)


ROUTES = [
    (r"^api/tapis-storage/jobs/?$", JobsView.as_view()),
    (r"^api/tapis-storage/jobs/(?P<job_id>[^/]+)/?$", JobView.as_view()),
    (r"^api/tapis-discovery/trigger/?$", TriggerView.as_view()),
]
