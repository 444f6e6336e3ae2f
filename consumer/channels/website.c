/* The backend's own chat widget: nothing is sent. The reply is settled as delivered at once and announced by
 * NOTIFY agwb_website (schemas/sql/005_delivery.sql); whoever shows it reads the messages' table. */
#include "consumer/channels/channel.h"

static const enum channel CHANNELS[] = {CHANNEL_WEBSITE, CHANNEL_NONE};

const struct channel_provider CHANNEL_WEBSITE_WIDGET = {.name = "website", .channels = CHANNELS};
