"""Progress of discoveries and syncs, and the start of a discovery in the background."""
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from app_extensions.tapis import job_reports, jobs
from app_extensions.tapis.models import TapisJob
from app_extensions.tapis.problems import TapisProblem

from .common import TapisAPIView, choice, paging
from .storage import access_for


class JobView(TapisAPIView):
    """One job that the caller may see."""

    def get(self, request: Request, job_id: str) -> Response:
        """``GET jobs/<job_id>/``"""
        job = job_reports.find_job(request.user, job_id)
        if job is None:
            raise TapisProblem("You have no job with this id.", status=404, error="Job not found")
        answer = {"success": True, "job": job_reports.as_dict(job), **job_reports.details_of(job)}
        if job.kind == TapisJob.DISCOVERY:
            answer.update({"progress": job_reports.progress_of(job)} if job.active else {"results": job.results})
        return Response(answer)


class JobsView(TapisAPIView):
    """The jobs that the caller may see."""

    def get(self, request: Request) -> Response:
        """``GET jobs/``: the most important jobs first. With ``page``, ``page_size``, ``state`` or ``kind``: one page, newest first"""
        query = request.query_params
        if set(query) & {"page", "page_size", "state", "kind"}:
            page, size = paging(query)
            state = choice(query, "state", TapisJob.STATES)
            kind = choice(query, "kind", (TapisJob.SYNC, TapisJob.DISCOVERY))
            found, total = job_reports.page_of(request.user, kind=kind, state=state, page=page, size=size)
            more = {"page": page, "page_size": size, "total": total}
        else:
            found, more = job_reports.latest(request.user), {}
        rows = [self._row(job) for job in found]
        return Response({"success": True, "jobs": rows, "count": len(rows), **more, "counts": job_reports.counts(request.user)})

    @staticmethod
    def _row(job: TapisJob) -> "dict[str, Any]":
        more = {"progress": job_reports.progress_of(job)} if job.kind == TapisJob.DISCOVERY and job.active else {}
        return {**job_reports.as_dict(job), **job_reports.details_of(job), "project_id": job.flight.project_id if job.flight else None,
                "flight_name": job.flight.name if job.flight else "", **more}


class TriggerView(TapisAPIView):
    """Starts a discovery in the background, or joins the one under way."""

    def post(self, request: Request) -> Response:
        """``POST /api/tapis-discovery/trigger/``"""
        access = access_for(request)
        access.token()  # report a missing or expired token now, not in the background
        job, joined = jobs.start_discovery(access, jobs.IMPORT, {"background": True})
        verb = "is under way already" if joined else "has started"
        return Response({"success": True, "message": f"The discovery {verb}.", "task_id": str(job.pk)}, status=202)


ROUTES = [
    (r"^api/tapis-storage/jobs/?$", JobsView.as_view()),
    (r"^api/tapis-storage/jobs/(?P<job_id>[^/]+)/?$", JobView.as_view()),
    (r"^api/tapis-discovery/trigger/?$", TriggerView.as_view()),
]
