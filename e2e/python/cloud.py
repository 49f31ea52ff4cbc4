"""A cloud for the tests: moto's server, with what the tests put into it and what they break.

`cloud.py PORT` serves EC2, STS and Organizations at http://127.0.0.1:PORT. `POST /_test/make` puts
networks into an account and a region, `POST /_test/drop` takes subnets away, `POST /_test/break` has
calls fail: by region, by assumed role, or for a while as AWS does when it is asked too much.

moto answers lists of subnets in one piece; here they are cut into pages, as EC2 does.
"""

import copy
import io
import json
import sys
import threading
from urllib.parse import parse_qsl
from xml.etree import ElementTree

from moto.ec2.models import ec2_backends
from moto.organizations.models import organizations_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
from werkzeug.wrappers import Request, Response

MANAGEMENT = "123456789012"
EC2 = "{http://ec2.amazonaws.com/doc/2016-11-15}"

broken = {"regions": [], "roles": [], "throttle": 0}
calls = {"AssumeRole": [], "throttled": 0, "regions": [], "lists": 0, "pages": 0}
# Lists that are handed out page by page.
lists = {}
guard = threading.Lock()


def refuse(code, status=403):
    body = (
        "<?xml version='1.0'?><Response><Errors><Error><Code>%s</Code>"
        "<Message>said by the test</Message></Error></Errors></Response>" % code
    )
    return Response(body, status=status, content_type="text/xml")


def make(order):
    backend = ec2_backends[order["account"]][order["region"]]
    made = []
    for network in order["vpcs"]:
        vpc = backend.create_vpc(network["cidr"])
        backend.create_tags([vpc.id], {"Name": network["name"], "env": "test"})
        if "second_cidr" in network:
            backend.associate_vpc_cidr_block(vpc.id, network["second_cidr"], False)
        zone = order["region"] + "a"
        first = network["cidr"].split(".")
        subnets = []
        for number in range(network.get("subnets", 0)):
            cidr = "%s.%s.%d.%d/28" % (first[0], first[1], number // 16, number % 16 * 16)
            subnets.append(backend.create_subnet(vpc.id, cidr, availability_zone=zone).id)
        if network.get("address"):
            interface = backend.create_network_interface(
                backend.get_subnet(subnets[0]), [], description="of the test"
            )
            address = backend.allocate_address("vpc")
            backend.associate_address(eni=interface, allocation_id=address.allocation_id)
        made.append({"vpc": vpc.id, "subnets": subnets})
    return made


def drop(order):
    backend = ec2_backends[order["account"]][order["region"]]
    for subnet in order.get("subnets", []):
        backend.delete_subnet(subnet)
    for vpc in order.get("vpcs", []):
        backend.delete_vpc(vpc)
    return {}


def organise(order):
    organisation = organizations_backends[MANAGEMENT]["aws"]
    organisation.create_organization("us-east-1", FeatureSet="ALL")
    made = []
    for name in order["accounts"]:
        account = organisation.create_account(AccountName=name, Email=name + "@example.com")
        made.append(account["CreateAccountStatus"]["AccountId"])
    return made


def paged(application, environ, fields):
    """The part of moto's answer that a page has, with the token of the next one."""
    number, _, first = fields.get("NextToken", "").partition("-")
    if not first:
        whole = ElementTree.fromstring(Response.from_app(application, environ).get_data())
        with guard:
            calls["lists"] += 1
            number, first = str(calls["lists"]), "0"
            lists[number] = whole
    with guard:
        whole = copy.deepcopy(lists[number])
        calls["pages"] += 1
    first, size = int(first), int(fields["MaxResults"])
    subnets = whole.find(EC2 + "subnetSet")
    items = list(subnets)
    for item in items[:first] + items[first + size :]:
        subnets.remove(item)
    if first + size < len(items):
        ElementTree.SubElement(whole, EC2 + "nextToken").text = "%s-%d" % (number, first + size)
    return Response(ElementTree.tostring(whole), content_type="text/xml")


def control(path, request):
    order = json.loads(request.get_data() or b"{}")
    with guard:
        if path == "break":
            broken.update(order)
            return {}
        if path == "calls":
            return calls
        return {"make": make, "drop": drop, "organise": organise}[path](order)


class Cloud:
    def __init__(self):
        self.aws = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ, start_response):
        request = Request(environ, populate_request=False)
        if request.path.startswith("/_test/"):
            answer = control(request.path.removeprefix("/_test/"), request)
            response = Response(json.dumps(answer), content_type="application/json")
            return response(environ, start_response)
        refused = self.refused(environ)
        if refused is not None:
            return refused(environ, start_response)
        fields = self.fields(environ)
        if fields.get("Action") == "DescribeSubnets" and "MaxResults" in fields:
            return paged(self.aws, environ, fields)(environ, start_response)
        return self.aws(environ, start_response)

    def fields(self, environ):
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = io.BytesIO(body)
        return dict(parse_qsl(body.decode(errors="replace")))

    def refused(self, environ):
        signed = environ.get("HTTP_AUTHORIZATION", "")
        scope = signed.partition("Credential=")[2].partition(",")[0].split("/")
        if len(scope) < 5:
            return refuse("AuthFailure", 401)
        with guard:
            calls["regions"].append(scope[2])
            if broken["throttle"] > 0:
                broken["throttle"] -= 1
                calls["throttled"] += 1
                return refuse("RequestLimitExceeded", 503)
            if scope[3] == "ec2" and scope[2] in broken["regions"]:
                return refuse("UnauthorizedOperation")
        if scope[3] == "sts":
            length = int(environ.get("CONTENT_LENGTH") or 0)
            body = environ["wsgi.input"].read(length)
            environ["wsgi.input"] = io.BytesIO(body)
            text = body.decode()
            if "Action=AssumeRole" in text:
                calls["AssumeRole"].append(text)
                if any(account in text for account in broken["roles"]):
                    return refuse("AccessDenied")
        return None


if __name__ == "__main__":
    run_simple("127.0.0.1", int(sys.argv[1]), Cloud(), threaded=True)
