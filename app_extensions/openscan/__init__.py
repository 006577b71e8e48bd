"""The OpenScan Cloud's rules: tokens, credit, scans, uploads, ingest, queue, results and notices."""
