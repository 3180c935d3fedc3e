"""The wire: what clients of OpenAI's protocol send and are answered, seen below every framework.

`watch` puts the tees in and says whose requests are followed; `tee` (httpx, httpx2), `sockets` and `posts` (aiohttp)
pass a copy of what goes by; `requests` says what is billable and reads what is asked, `answers` what came, by the form
of its `bodies`; an `exchange` is one request's life where its call runs, in the `hold` of who sees it go on, its
`account` where it is read, `outcome` what it came to; `sending` lets it leave before it is counted; `background`
follows who asks for a response that runs on; `counting` is the thread where all of it is read.
Only calls in a tracked context, or of a `metered` client, are recorded; of bodies nothing but counts is kept.
"""
