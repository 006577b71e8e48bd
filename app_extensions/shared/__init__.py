"""What the OpenScan and the Tapis app both need: encrypted fields, mail, formatting, retries."""
