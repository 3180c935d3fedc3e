"""The wire: what clients of OpenAI's protocol send and are answered, seen below every framework.

`watch` puts the tees in and says whose requests are followed; `tee` (httpx, httpx2) and `sockets` (aiohttp) pass a
copy of what goes by; `requests` says what is billable and reads what is asked, `answers` what came; an `exchange` is
one request's life, `outcome` what it came to; `counting` is the thread where all of it is read. Only calls in a
tracked context, or of a `metered` client, are recorded; of bodies nothing but counts is kept.
"""
