"""Daily credit follows another rule from here on. Tokens that were ever topped up begin it with the balance they have."""
from django.db import migrations

OPEN_BOOKS = """
    INSERT INTO openscan_ledgerentry (token_id, scan_id, kind, amount_bytes, balance_bytes, key, note, actor, created_at)
    SELECT id, NULL, 'opening', 0, credit_bytes, 'opening:' || id, 'The rule for daily credit changed.', '', now()
    FROM openscan_token t WHERE EXISTS (SELECT 1 FROM openscan_ledgerentry e WHERE e.token_id = t.id AND e.kind = 'refill')
"""


class Migration(migrations.Migration):

    dependencies = [
        ('openscan', '0005_public_tokens'),
    ]

    operations = [
        migrations.RunSQL(OPEN_BOOKS, migrations.RunSQL.noop),
    ]
