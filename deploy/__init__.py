"""Puts us into a WebODM and takes us out again: natively, in Docker, or as plugin zips. Standard library only, any Python from 3.9 on."""
