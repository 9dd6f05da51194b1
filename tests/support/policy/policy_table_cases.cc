// SPDX-License-Identifier: Apache-2.0
// The cases of the truth table, by what they are about.
#include "tests/support/policy/policy_table.h"

namespace mesh::testing {
namespace {

const std::vector<TableCase> kTable = {
    // Whole namespaces.
    {"NoPolicy", {}, {}},
    {"DenyIngress", {"x p {podSelector: {}, policyTypes: [Ingress]}"}, {"- * x/*"}},
    {"DenyIngressByAMissingList", {"x p {podSelector: {}}"}, {"- * x/*"}},
    {"DenyIngressByAnEmptyList", {"x p {podSelector: {}, ingress: []}"}, {"- * x/*"}},
    {"DenyEgress", {"x p {podSelector: {}, policyTypes: [Egress]}"}, {"- x/* *"}},
    {"DenyEgressByAnEmptyList",
     {"x p {podSelector: {}, policyTypes: [Egress], egress: []}"},
     {"- x/* *"}},
    {"DenyBoth", {"x p {podSelector: {}, policyTypes: [Ingress, Egress]}"}, {"- * x/*", "- x/* *"}},
    {"AnEmptyEgressListDoesNotMakeATypeOfItsOwn",
     {"x p {podSelector: {}, egress: []}"},
     {"- * x/*"}},
    {"EgressRulesAddTheType", {"x p {podSelector: {}, egress: [{}]}"}, {"- * x/*"}},
    {"EgressRulesAddTheTypeAndRestrict",
     {"x p {podSelector: {}, egress: [{to: [{podSelector: {matchLabels: {pod: b}}}]}]}"},
     {"- * x/*", "- x/* *"}},
    {"RulesOfAnotherTypeDoNothing",
     {"x p {podSelector: {}, policyTypes: [Egress], ingress: [{from: [{podSelector: {}}]}]}"},
     {"- x/* *"}},
    {"AllowIngress", {"x p {podSelector: {}, ingress: [{}]}"}, {}},
    {"AllowEgress", {"x p {podSelector: {}, policyTypes: [Egress], egress: [{}]}"}, {}},
    {"AllowBoth",
     {"x p {podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}], egress: [{}]}"},
     {}},
    {"EmptyPeersAndPortsAreEverybodyAndEverything",
     {"x p {podSelector: {}, ingress: [{from: [], ports: []}]}"},
     {}},
    {"DenyEverywhere",
     {"x p {podSelector: {}, policyTypes: [Ingress, Egress]}",
      "y p {podSelector: {}, policyTypes: [Ingress, Egress]}",
      "z p {podSelector: {}, policyTypes: [Ingress, Egress]}"},
     {"- * *"}},

    // Who is selected.
    {"SelectsByLabel", {"x p {podSelector: {matchLabels: {pod: a}}}"}, {"- * x/a"}},
    {"SelectsNobody", {"x p {podSelector: {matchLabels: {pod: nobody}}}"}, {}},
    {"SelectsByTwoLabelsOfWhichOneIsMissing",
     {"x p {podSelector: {matchLabels: {pod: a, tier: web}}}"},
     {}},
    {"SelectsByIn",
     {"x p {podSelector: {matchExpressions: [{key: pod, operator: In, values: [a, b]}]}}"},
     {"- * x/a,x/b"}},
    {"SelectsByNotIn",
     {"x p {podSelector: {matchExpressions: [{key: pod, operator: NotIn, values: [a]}]}}"},
     {"- * x/b,x/c"}},
    {"NotInHoldsForWhoLacksTheKey",
     {"x p {podSelector: {matchExpressions: [{key: tier, operator: NotIn, values: [a]}]}}"},
     {"- * x/*"}},
    {"SelectsByExists",
     {"x p {podSelector: {matchExpressions: [{key: pod, operator: Exists}]}}"},
     {"- * x/*"}},
    {"SelectsByDoesNotExist",
     {"x p {podSelector: {matchExpressions: [{key: pod, operator: DoesNotExist}]}}"},
     {}},
    {"LabelsAndExpressionsAreBothAsked",
     {"x p {podSelector: {matchLabels: {pod: a}, "
      "matchExpressions: [{key: pod, operator: In, values: [b, c]}]}}"},
     {}},

    // Peers: pods.
    {"FromPodsOfTheSameNamespace",
     {"x p {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {}}]}]}"},
     {"- y/*,z/* x/a"}},
    {"FromALabelMeansTheNamespaceOfThePolicy",
     {"x p {podSelector: {matchLabels: {pod: a}}, "
      "ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}]}"},
     {"- * x/a", "+ x/b x/a"}},
    {"FromPodsByExpression",
     {"x p {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: "
      "{matchExpressions: [{key: pod, operator: NotIn, values: [b]}]}}]}]}"},
     {"- * x/a", "+ x/c x/a"}},
    {"FromNobody",
     {"x p {podSelector: {matchLabels: {pod: a}}, "
      "ingress: [{from: [{podSelector: {matchLabels: {pod: nobody}}}]}]}"},
     {"- * x/a"}},

    // Peers: namespaces.
    {"FromEveryNamespace",
     {"x p {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}"},
     {}},
    {"FromANamespaceByLabel",
     {"x p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: 'y'}}}]}]}"},
     {"- * x/*", "+ y/* x/*"}},
    {"FromANamespaceByName",
     {"x p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: "
      "{kubernetes.io/metadata.name: z}}}]}]}"},
     {"- * x/*", "+ z/* x/*"}},
    {"FromNamespacesByIn",
     {"x p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: "
      "[{key: ns, operator: In, values: [x, z]}]}}]}]}"},
     {"- y/* x/*"}},
    {"FromNamespacesByNotIn",
     {"x p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: "
      "[{key: ns, operator: NotIn, values: [x]}]}}]}]}"},
     {"- x/* x/*"}},
    {"FromNamespacesByExists",
     {"x p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: "
      "[{key: ns, operator: Exists}]}}]}]}"},
     {}},
    {"FromNamespacesByDoesNotExist",
     {"x p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: "
      "[{key: ns, operator: DoesNotExist}]}}]}]}"},
     {"- * x/*"}},

    // Both in one peer, and in two.
    {"PodsOfNamespaces",
     {"x p {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: "
      "{matchLabels: {ns: 'y'}}, podSelector: {matchLabels: {pod: b}}}]}]}"},
     {"- * x/a", "+ y/b x/a"}},
    {"PodsOrNamespaces",
     {"x p {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: "
      "{matchLabels: {ns: 'y'}}}, {podSelector: {matchLabels: {pod: b}}}]}]}"},
     {"- * x/a", "+ y/* x/a", "+ x/b x/a"}},
    {"AllPodsOfANamespace",
     {"x p {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: "
      "{matchLabels: {ns: 'y'}}, podSelector: {}}]}]}"},
     {"- * x/a", "+ y/* x/a"}},
    {"PodsOfEveryNamespace",
     {"x p {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {}, "
      "podSelector: {matchLabels: {pod: c}}}]}]}"},
     {"- * x/a", "+ */c x/a"}},
    {"ExpressionsOnBoth",
     {"x p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: "
      "[{key: ns, operator: NotIn, values: [x]}]}, podSelector: {matchExpressions: "
      "[{key: pod, operator: In, values: [a, b]}]}}]}]}"},
     {"- * x/*", "+ y/a,y/b,z/a,z/b x/*"}},

    // Ports.
    {"AllowsAPort",
     {"x p {podSelector: {}, ingress: [{ports: [{port: 80}]}]}"},
     {"- * x/*", "+ * x/* tcp 80"}},
    {"AllowsAPortOfUdp",
     {"x p {podSelector: {}, ingress: [{ports: [{protocol: UDP, port: 81}]}]}"},
     {"- * x/*", "+ * x/* udp 81"}},
    {"AllowsAProtocol",
     {"x p {podSelector: {}, ingress: [{ports: [{protocol: UDP}]}]}"},
     {"- * x/* tcp"}},
    {"AllowsTwoPorts",
     {"x p {podSelector: {}, ingress: [{ports: [{port: 80}, {protocol: UDP, port: 80}]}]}"},
     {"- * x/* 81"}},
    {"AllowsARange",
     {"x p {podSelector: {}, ingress: [{ports: [{port: 79, endPort: 80}]}]}"},
     {"- * x/*", "+ * x/* tcp 80"}},
    {"AllowsARangeOfOne",
     {"x p {podSelector: {}, ingress: [{ports: [{port: 81, endPort: 81}]}]}"},
     {"- * x/*", "+ * x/* tcp 81"}},
    {"AllowsTheWidestRange",
     {"x p {podSelector: {}, ingress: [{ports: [{port: 1, endPort: 65535}]}]}"},
     {"- * x/* udp"}},
    {"ARangeBesidesThePorts",
     {"x p {podSelector: {}, ingress: [{ports: [{port: 82, endPort: 32767}]}]}"},
     {"- * x/*"}},
    {"ARangeOfUdp",
     {"x p {podSelector: {}, ingress: [{ports: [{protocol: UDP, port: 81, endPort: 90}]}]}"},
     {"- * x/*", "+ * x/* udp 81"}},
    {"OverlappingRanges",
     {"x p {podSelector: {}, ingress: [{ports: [{port: 70, endPort: 80}, "
      "{port: 75, endPort: 78}]}]}"},
     {"- * x/*", "+ * x/* tcp 80"}},
    {"SctpAllowsNothing",
     {"x p {podSelector: {}, ingress: [{ports: [{protocol: SCTP, port: 80}]}]}"},
     {"- * x/*"}},
    {"SctpAndTcpAllowTcp",
     {"x p {podSelector: {}, ingress: [{ports: [{protocol: SCTP}, {port: 80}]}]}"},
     {"- * x/*", "+ * x/* tcp 80"}},
    {"PortsByName",
     {"x p {podSelector: {}, ingress: [{ports: [{port: serve-81-tcp}]}]}"},
     {"- * x/*", "+ * x/* tcp 81"}},
    {"PortsByNameOfUdp",
     {"x p {podSelector: {}, ingress: [{ports: [{protocol: UDP, port: serve-80-udp}]}]}"},
     {"- * x/*", "+ * x/* udp 80"}},
    {"APortsNameIsOfItsProtocol",
     {"x p {podSelector: {}, ingress: [{ports: [{protocol: UDP, port: serve-80-tcp}]}]}"},
     {"- * x/*"}},
    {"APortsNameThatNobodyHas",
     {"x p {podSelector: {}, ingress: [{ports: [{port: none}]}]}"},
     {"- * x/*"}},
    {"OneNameManyNumbers",
     {"x p {podSelector: {}, ingress: [{ports: [{port: web}]}]}"},
     {"- * x/*", "+ * x/a tcp 80", "+ * x/b tcp 81"}},
    {"OneNameOfUdp",
     {"x p {podSelector: {}, ingress: [{ports: [{protocol: UDP, port: web}]}]}"},
     {"- * x/*", "+ * x/c udp 80"}},
    {"PeersAndPortsAreBothAsked",
     {"x p {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: "
      "{matchLabels: {ns: 'y'}}}], ports: [{port: 80}]}]}"},
     {"- * x/a", "+ y/* x/a tcp 80"}},
    {"TwoRulesDoNotMix",
     {"x p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: 'y'}}}], "
      "ports: [{port: 80}]}, {from: [{namespaceSelector: {matchLabels: {ns: z}}}], "
      "ports: [{port: 81}]}]}"},
     {"- * x/*", "+ y/* x/* tcp 80", "+ z/* x/* tcp 81"}},

    // Egress.
    {"ToPodsOfTheSameNamespace",
     {"x p {podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}]}]}"},
     {"- x/* y/*,z/*"}},
    {"ToANamespace",
     {"x p {podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: "
      "[{namespaceSelector: {matchLabels: {ns: 'y'}}}]}]}"},
     {"- x/a *", "+ x/a y/*"}},
    {"ToPodsOfANamespace",
     {"x p {podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: "
      "[{namespaceSelector: {matchLabels: {ns: 'y'}}, podSelector: {matchLabels: {pod: b}}}]}]}"},
     {"- x/a *", "+ x/a y/b"}},
    {"ToAPort",
     {"x p {podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], "
      "egress: [{ports: [{port: 80}]}]}"},
     {"- x/a *", "+ x/a * tcp 80"}},
    {"ToARange",
     {"x p {podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], "
      "egress: [{ports: [{port: 81, endPort: 9000}]}]}"},
     {"- x/a *", "+ x/a * tcp 81"}},
    {"ToAPortByTheReceiversName",
     {"x p {podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], "
      "egress: [{ports: [{port: web}]}]}"},
     {"- x/a *", "+ x/a */a tcp 80", "+ x/a */b tcp 81"}},
    {"ToNamedPortsOfANamespace",
     {"x p {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: "
      "{matchLabels: {ns: z}}}], ports: [{port: web}, {protocol: UDP, port: web}]}]}"},
     {"- x/* *", "+ x/* z/a tcp 80", "+ x/* z/b tcp 81", "+ x/* z/c udp 80"}},
    {"EgressAndIngressOfOneFlowAreBothAsked",
     {"x out {podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: "
      "[{namespaceSelector: {matchLabels: {ns: 'y'}}}]}]}",
      "y in {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: "
      "{matchLabels: {ns: x}}, podSelector: {matchLabels: {pod: b}}}]}]}"},
     {"- x/a *", "+ x/a y/*", "- * y/a", "+ x/b y/a"}},
    {"EgressAllowedIngressDenied",
     {"x out {podSelector: {}, policyTypes: [Egress], egress: [{}]}",
      "y in {podSelector: {}, policyTypes: [Ingress]}"},
     {"- * y/*"}},
    {"PortsOfBothDirectionsMeet",
     {"x out {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 80}, "
      "{port: 81}]}]}",
      "y in {podSelector: {}, ingress: [{ports: [{port: 81}, {protocol: UDP}]}]}"},
     {"- x/* * udp", "- * y/* tcp 80"}},

    // Several policies add up.
    {"DenyAndAllow",
     {"x deny {podSelector: {}}",
      "x allow {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: "
      "{matchLabels: {ns: 'y'}}}]}]}"},
     {"- * x/*", "+ y/* x/a"}},
    {"TwoAllowsAddUp",
     {"x one {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: "
      "{matchLabels: {ns: 'y'}}}], ports: [{port: 80}]}]}",
      "x two {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: "
      "{matchLabels: {pod: b}}}], ports: [{port: 81}]}]}"},
     {"- * x/a", "+ y/* x/a tcp 80", "+ x/b x/a tcp 81"}},
    {"AllowAllWinsOverDenyAll",
     {"x deny {podSelector: {}}", "x allow {podSelector: {}, ingress: [{}]}"},
     {}},
    {"PoliciesOfAnotherNamespaceSelectNobodyHere",
     {"y p {podSelector: {matchLabels: {pod: a}}}"},
     {"- * y/a"}},
    {"OneNameInTwoNamespaces",
     {"x p {podSelector: {matchLabels: {pod: a}}}", "y p {podSelector: {matchLabels: {pod: b}}}"},
     {"- * x/a,y/b"}},
    {"OnePolicyForEachDirection",
     {"x in {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}",
      "x out {podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}]}]}"},
     {"- y/*,z/* x/*", "- x/* y/*,z/*"}},

    // Ranges of addresses. Pods are in them by their own.
    {"FromEverywhereInIpv4",
     {"x p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}"},
     {"- * x/* v6"}},
    {"FromEverywhereInBoth",
     {"x p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}, "
      "{ipBlock: {cidr: '::/0'}}]}]}"},
     {}},
    {"FromOneAddress",
     {"x p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: $y/a/32}}]}]}"},
     {"- * x/*", "+ y/a x/* v4"}},
    {"FromOneAddressOfIpv6",
     {"x p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '$6y/a/128'}}]}]}"},
     {"- * x/*", "+ y/a x/* v6"}},
    {"ExceptOneAddress",
     {"x p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.244.0.0/16, "
      "except: [$y/a/32]}}]}]}"},
     {"- * x/* v6", "- y/a x/* v4"}},
    {"AnExceptionAndASecondRangeInsideIt",
     {"x p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.244.0.0/16, "
      "except: [$y/a/32, $y/b/32]}}, {ipBlock: {cidr: $y/a/32}}]}]}"},
     {"- * x/* v6", "- y/b x/* v4"}},
    {"AnExceptionAddsUpWithASelector",
     {"x p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.244.0.0/16, "
      "except: [$y/a/32]}}, {namespaceSelector: {matchLabels: {ns: 'y'}}}]}]}"},
     {"- * x/* v6", "+ y/* x/*"}},
    {"ARangeWithoutItsHostBitsMeansTheSame",
     {"x p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.244.99.7/16}}]}]}"},
     {"- * x/* v6"}},
    {"ARangeOfOthers",
     {"x p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.168.0.0/16}}]}]}"},
     {"- * x/*"}},
    {"ToOneAddress",
     {"x p {podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: "
      "[{ipBlock: {cidr: $z/b/32}}, {ipBlock: {cidr: '$6z/c/128'}}]}]}"},
     {"- x/a *", "+ x/a z/b v4", "+ x/a z/c v6"}},
    {"ToAllButOneAddress",
     {"x p {podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: "
      "[{ipBlock: {cidr: 0.0.0.0/0, except: [$z/b/32]}}, {ipBlock: {cidr: '::/0'}}]}]}"},
     {"- x/a z/b v4"}},
    {"ToARangeAtAPort",
     {"x p {podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: "
      "[{ipBlock: {cidr: 10.244.0.0/16}}], ports: [{protocol: UDP, port: 81}]}]}"},
     {"- x/a *", "+ x/a * v4 udp 81"}},
    {"ToARangeAtANamedPort",
     {"x p {podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: "
      "[{ipBlock: {cidr: $y/b/32}}, {ipBlock: {cidr: $y/a/32}}], ports: [{port: web}]}]}"},
     {"- x/a *", "+ x/a y/b v4 tcp 81", "+ x/a y/a v4 tcp 80"}},
    {"ARangeAndASelectorOfTheSamePods",
     {"x p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: $y/a/32}}], ports: [{port: 80}]}, "
      "{from: [{namespaceSelector: {matchLabels: {ns: 'y'}}}], ports: [{port: 81}]}]}"},
     {"- * x/*", "+ y/a x/* v4 tcp 80", "+ y/* x/* tcp 81"}},
};

}  // namespace

const std::vector<TableCase>& PolicyTable() { return kTable; }

}  // namespace mesh::testing
