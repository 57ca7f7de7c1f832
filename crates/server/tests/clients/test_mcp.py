"""The official client of MCP, against `docent mcp` on its stdin and stdout and over HTTP.

    test_mcp.py URL COMMAND [ARGUMENT...]
"""

import asyncio
import sys

from mcp import Client, StdioServerParameters
from mcp.shared.exceptions import MCPError

URL, COMMAND = sys.argv[1], sys.argv[2:]


async def use(server, mode):
    async with Client(server, mode=mode, read_timeout_seconds=60) as client:
        assert client.server_info.name == "docent", client.server_info
        assert "2 documents in 1 collection" in client.instructions, client.instructions
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert list(tools) == ["query", "get", "multi_get", "status"], tools
        assert all(tool.annotations.read_only_hint and not tool.annotations.open_world_hint for tool in tools.values())
        templates = (await client.list_resource_templates()).resource_templates
        assert [template.uri_template for template in templates] == ["qmd://{+path}"], templates
        assert (await client.list_resources()).resources == []

        found = await client.call_tool("query", {"query": "why does the sea rise?"})
        assert not found.is_error and "notes/tides.md" in found.content[0].text, found
        files = [result["file"] for result in found.structured_content["results"]]
        assert set(files) == {"notes/tides.md", "notes/cat.md"}, found
        assert "notes" not in found.structured_content, found
        typed = {"searches": [{"type": "lex", "query": "moon"}, {"type": "vec", "query": "tides"}], "limit": 1}
        found = await client.call_tool("query", typed)
        assert found.structured_content["results"][0]["docid"].startswith("#"), found

        read = await client.call_tool("get", {"file": files[0], "maxLines": 1})
        assert read.content[0].resource.text.startswith("1: # "), read
        read = await client.call_tool("multi_get", {"pattern": "*.md, none.md"})
        assert read.is_error or len(read.content) >= 1, read
        read = await client.call_tool("multi_get", {"pattern": "cat.md, none.md"})
        assert read.content[0].text.startswith("Errors:") and "sat on" in read.content[1].resource.text, read
        status = (await client.call_tool("status", {})).structured_content
        assert (status["totalDocuments"], status["needsEmbedding"], status["hasVectorIndex"]) == (2, 0, True), status
        resource = await client.read_resource("qmd://notes/cat.md")
        assert "3: The cat sat" in resource.contents[0].text, resource

        wrong = await client.call_tool("get", {"file": "notes/cats.md"})
        assert wrong.is_error and "did you mean" in wrong.content[0].text, wrong
        wrong = await client.call_tool("query", {"query": "moon", "limit": 0})
        assert wrong.is_error and "limit" in wrong.content[0].text, wrong
        for call in (client.call_tool("rm", {}), client.read_resource("qmd://notes/none.md")):
            try:
                raise AssertionError(await call)
            except MCPError:
                pass

        # Answers belong to their questions.
        many = await asyncio.gather(*(client.call_tool("get", {"file": ["cat.md", "tides.md"][n % 2]}) for n in range(20)))
        assert [answer.content[0].resource.uri for answer in many] == ["qmd://notes/cat.md", "qmd://notes/tides.md"] * 10
        return client.protocol_version


for name, server in (("stdin and stdout", StdioServerParameters(command=COMMAND[0], args=COMMAND[1:])), ("HTTP", URL)):
    for mode in ("auto", "legacy"):
        version = asyncio.run(use(server, mode))
        print(f"mcp over {name}, version {version}: passed")
