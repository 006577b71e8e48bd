"""Who may send what: tokens, requests for tokens, the credit ledger, and limits."""
