"""Tapis for WebODM: login with OAuth2, flights on Tapis systems, their images as WebODM tasks."""
